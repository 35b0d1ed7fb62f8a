"""No threshold: a row gets the most probable class."""

from __future__ import annotations

from typing import ClassVar

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts


@frozen
class MostLikely:
    """A row gets the most probable class."""

    is_wanted: ClassVar[bool] = False
    is_chosen: ClassVar[bool] = False

    def choose(self, counts: Counts) -> float:
        """Return one half."""
        return 0.5
