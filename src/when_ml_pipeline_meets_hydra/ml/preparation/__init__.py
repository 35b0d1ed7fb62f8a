"""Preparation: the split, the fitted preprocessing, and its two forms: a matrix and an ONNX graph."""
