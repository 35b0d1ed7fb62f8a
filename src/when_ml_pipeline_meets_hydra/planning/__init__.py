"""Calls → steps with keys, deduplicated, in dependency order."""
