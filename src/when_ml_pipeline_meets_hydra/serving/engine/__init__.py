"""From raw rows to predictions, by the graph of a bundle."""
