"""No threshold: a row gets the most probable class."""

from __future__ import annotations

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts


@frozen
class MostLikely:
    """A row gets the most probable class."""

    @property
    def wanted(self) -> bool:
        """False."""
        return False

    @property
    def chosen(self) -> bool:
        """False."""
        return False

    def choose(self, counts: Counts) -> float:
        """Return one half."""
        return 0.5
