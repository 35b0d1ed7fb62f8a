"""Neural networks in PyTorch: layers, objectives, the training loop, checkpoints and export."""
