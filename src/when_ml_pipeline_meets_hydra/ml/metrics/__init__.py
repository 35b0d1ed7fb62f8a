"""Metrics of predictions: those that every model has, and further ones, with the Protocol in ``interface``."""
