"""How combinations are validated on training rows; one file per kind."""
