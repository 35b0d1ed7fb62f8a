"""Validation in folds of whole groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold, GroupPart, folds
from when_ml_pipeline_meets_hydra.ml.validation.interface import column_of

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit


@frozen
class GroupKFold:
    """Each of k parts of whole groups is held out in turn, so that no group is on both sides."""

    column: Annotated[
        str | None, Field(min_length=1, description="Column with the groups; null: that of the split")
    ] = None
    k: Annotated[int, Field(ge=2, le=100, description="Number of parts")] = 5
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the parts")] = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a training is to be validated before."""
        return True

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Return the folds of the training rows of a split."""
        column = column_of(self.column, split, "it holds the groups")
        parts = (GroupPart(column=column, number=number, k=self.k, seed=self.seed) for number in range(self.k))
        return folds(split, tuple(parts))
