"""Where results are kept: the store, its locks, and files that survive a crash."""
