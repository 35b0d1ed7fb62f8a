"""Bundles, the model repository on disk, and the server of its models."""
