"""Where steps are computed: worker processes, and the launchers of Hydra."""
