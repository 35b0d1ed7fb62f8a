"""Rollout strategies: the Protocol in ``interface``, one module per strategy."""
