"""Clusters: the Protocol in ``interface``, one module per kind of cluster."""
