"""Models: the Protocol in ``interface``, one module for each kind."""
