"""The models: one Protocol, one file per kind."""
