"""Data sets: a Protocol in ``interface``, one module for each kind."""
