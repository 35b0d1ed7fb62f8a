"""How networks are made, trained, kept and written down (PyTorch)."""
