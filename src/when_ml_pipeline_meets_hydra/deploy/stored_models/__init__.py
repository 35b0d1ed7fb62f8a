"""Stored models, to be evaluated without their training data: the Protocol in ``interface``, a module for each kind."""
