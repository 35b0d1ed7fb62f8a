"""How a new version takes over from the one that serves: one Protocol in ``interface``, one module per way."""
