"""Training data, hyperparameters, metrics and the ONNX graph, for all kinds of models."""
