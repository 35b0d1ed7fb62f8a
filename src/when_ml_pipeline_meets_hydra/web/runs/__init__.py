"""The section of the runs: a list with filters, comparisons, and the pages of a run."""
