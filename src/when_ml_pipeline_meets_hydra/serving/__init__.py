"""Bundles, the model repository on disk, and the server that answers from it."""
