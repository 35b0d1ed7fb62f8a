"""Where models go: one Protocol in ``interface``, one module per kind of cluster."""
