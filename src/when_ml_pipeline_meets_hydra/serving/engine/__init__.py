"""Inference: from raw rows to predictions with the graph of a bundle."""
