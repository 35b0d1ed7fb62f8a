"""Profiles of data sets: what is found in a column, and the page that shows it."""
