"""The help: overview, config groups, stages."""
