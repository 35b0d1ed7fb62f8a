"""The record of a run, and what is read from records: comparisons, tables, plots."""
