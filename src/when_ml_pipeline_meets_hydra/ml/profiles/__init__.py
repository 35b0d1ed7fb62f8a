"""Profiles of data sets: the description of each column, and its page."""
