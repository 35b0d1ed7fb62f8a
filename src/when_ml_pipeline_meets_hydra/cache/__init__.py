"""Caches of compositions and of whole runs."""
