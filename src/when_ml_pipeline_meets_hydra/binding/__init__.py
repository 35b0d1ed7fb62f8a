"""Composed config → typed call: the function of a subcommand and its validated arguments."""
