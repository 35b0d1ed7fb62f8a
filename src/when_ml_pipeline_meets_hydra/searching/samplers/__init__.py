"""Samplers, one file for each library, which is imported when it is chosen."""
