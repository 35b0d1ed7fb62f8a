"""What Acme adds to the pipeline: a data set, a model, a subcommand and a stage."""
