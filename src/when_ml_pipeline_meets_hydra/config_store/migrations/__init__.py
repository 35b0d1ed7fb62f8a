"""Versions of the tables, applied by Alembic when an older store is opened to write."""
