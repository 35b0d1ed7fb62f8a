"""The store of results, its locks, and crash-safe files."""
