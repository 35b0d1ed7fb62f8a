"""Files and data formats of a served model."""
