"""Counts of requests and distributions of values, per version."""
