"""Hydra's view of the jobs of a run: output folders, ``HydraConfig``, callbacks."""
