"""Parts of a report on a model: one Protocol in ``interface``, one module per kind; the page that shows them."""
