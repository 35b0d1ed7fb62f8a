"""The help pages: overview, config groups, parameters of a stage."""
