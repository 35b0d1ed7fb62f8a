"""How a model is trained, judged and written down, whichever model it is."""
