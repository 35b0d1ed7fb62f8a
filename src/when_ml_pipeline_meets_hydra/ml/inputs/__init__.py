"""Rows to predict: the Protocol in ``interface``, one module per source; and stored predictions."""
