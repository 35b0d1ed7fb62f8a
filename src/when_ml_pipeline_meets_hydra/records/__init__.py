"""Records of runs, and comparisons, tables and plots of them."""
