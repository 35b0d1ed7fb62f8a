"""Quality gates: one Protocol in ``interface``, one module per kind of gate."""
