"""From a composed config to a typed call: the function of a subcommand and its validated arguments."""
