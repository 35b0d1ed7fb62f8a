"""Checks the option files of folders: each composes and binds, and nothing in them is in vain."""
