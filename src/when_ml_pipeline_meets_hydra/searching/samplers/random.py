"""Random search."""

from __future__ import annotations

import math
from random import Random

from when_ml_pipeline_meets_hydra.searching.samplers.interface import Proposal, Scores
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value


class RandomSampler:
    """Draws each value independently; a trial depends on the seed and its number alone."""

    def __init__(
        self, space: Space, seed: int, settings: SearchSettings, objectives: int = 1, constraints: int = 0
    ) -> None:
        self._space, self._seed = space, seed

    def ask(self, number: int) -> Proposal:
        """Draw a trial."""
        random = Random(f"{self._seed}/{number}")
        drawn = {d.key: draw(d, random) for d in self._space.groups}
        return Proposal(values=drawn | {d.key: draw(d, random) for d in self._space.drawn_with(drawn)})

    def add(self, number: int, proposal: Proposal) -> None:
        """Ignore it."""

    def tell(self, number: int, scores: Scores | None) -> None:
        """Ignore it."""

    def prune(self, number: int, step: int, value: float) -> None:
        """Ignore it."""


def draw(dimension: Dimension, random: Random) -> Value:
    """Draw one value."""
    if dimension.values:
        return random.choice(dimension.values)
    low, high = dimension.low, dimension.high
    if dimension.is_log:
        value = math.exp(random.uniform(math.log(low), math.log(high)))
        return min(max(round(value) if dimension.is_whole else value, low), high)
    if (count := dimension.count) is not None:
        return dimension.number(random.randrange(count))
    return random.uniform(low, high)


make = RandomSampler
