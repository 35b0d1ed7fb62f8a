"""From overrides to one composed config per job, by Hydra."""
