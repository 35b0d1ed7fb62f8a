"""Rows to predict: one Protocol in ``interface``, one module per place that they come from; and a model's answers."""
