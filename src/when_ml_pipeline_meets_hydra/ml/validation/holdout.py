"""Validation on one part of the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold, GroupPart, HeldOutPart, NewestPart, folds
from when_ml_pipeline_meets_hydra.ml.splits.interface import separated_by

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit


@frozen
class Holdout:
    """One part of the training rows is held out, as the split holds out its rows: at random, the newest, or groups."""

    fraction: Annotated[float, Field(gt=0, lt=1, description="Share of the training rows")] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the choice of rows")] = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a training is to be validated before."""
        return True

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Return the fold of the training rows of a split."""
        return folds(split, (self._part(split),))

    def _part(self, split: RowSplit) -> Any:
        separated = separated_by(split)
        if separated is None:
            return HeldOutPart(fraction=self.fraction, seed=self.seed)
        if separated.in_time:
            return NewestPart(column=separated.column, fraction=self.fraction)
        return GroupPart(column=separated.column, fraction=self.fraction, seed=self.seed)
