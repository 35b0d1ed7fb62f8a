"""The stages that come with the program: one module each, one plain function for each subcommand."""
