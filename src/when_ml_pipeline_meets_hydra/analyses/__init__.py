"""Sections of a report on a model: the Protocol in ``interface``, one module per kind, and the page."""
