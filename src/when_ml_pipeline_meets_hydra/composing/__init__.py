"""Composes one config per job from overrides, with Hydra."""
