"""Preparation: split, fit, and the same transformation as a matrix and as an ONNX graph."""
