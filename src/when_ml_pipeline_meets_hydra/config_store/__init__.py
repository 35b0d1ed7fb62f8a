"""Configs in a database: option files with their history, drafts, reviews and roles."""
