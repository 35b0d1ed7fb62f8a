"""Samplers, one file for each library, which is imported when it is chosen."""

from __future__ import annotations

from importlib import import_module

from when_ml_pipeline_meets_hydra.searching.samplers.interface import Sampler
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Space


def make_sampler(
    settings: SearchSettings, space: Space, seed: int, *, objectives: int = 1, constraints: int = 0
) -> Sampler:
    """Make the sampler of the chosen library, for so many objectives and constraints.

    Raises ``BadInput`` if it refuses its options, the space, or several objectives.
    """
    module = import_module(f"when_ml_pipeline_meets_hydra.searching.samplers.{settings.library}")
    sampler: Sampler = module.make(space, seed, settings, objectives, constraints)
    return sampler
