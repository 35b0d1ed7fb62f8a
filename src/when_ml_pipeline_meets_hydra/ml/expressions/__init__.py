"""Columns computed from others by expressions in SQL's notation: read, typed, as Polars columns and as ONNX nodes."""
