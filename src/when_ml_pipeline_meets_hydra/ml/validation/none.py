"""No validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit


@frozen
class NoValidation:
    """Nothing is validated: an objective is the score on the held-out rows, which then are no unseen ones any more."""

    @property
    def is_wanted(self) -> bool:
        """Whether a training is to be validated before."""
        return False

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Raise ``BadInput``."""
        message, remedy = "there are no folds to validate in", "Choose modeling/validation=kfold"
        raise BadInput(Problem(key="modeling/validation", value="none", message=message, remedy=remedy))
