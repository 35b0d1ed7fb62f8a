"""From calls to steps with keys, each once, in the order of their dependencies."""
