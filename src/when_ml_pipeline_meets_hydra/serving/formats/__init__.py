"""The files that a served model consists of."""
