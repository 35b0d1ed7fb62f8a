"""HTML pages: the layout and the look that they share."""
