"""The pages of the config store."""
