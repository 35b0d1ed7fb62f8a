"""Thresholds: the probability from which on a row gets the positive one of two classes; Protocol in ``interface``."""
