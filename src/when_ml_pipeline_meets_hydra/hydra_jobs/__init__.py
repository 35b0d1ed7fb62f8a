"""The jobs of a run as Hydra's users know them: folders, ``HydraConfig``, callbacks."""
