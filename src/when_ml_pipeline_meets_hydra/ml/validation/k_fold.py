"""Validation in k folds at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold, KFoldPart, folds

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit


@frozen
class KFold:
    """Each of k parts of the training rows, drawn at random, is held out in turn."""

    k: Annotated[int, Field(ge=2, le=100, description="Number of parts")] = 5
    repeats: Annotated[int, Field(ge=1, le=100, description="How often the rows are divided anew")] = 1
    stratified: Annotated[bool, Field(description="Whether each part has the same share of every class")] = True
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the parts")] = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a training is to be validated before."""
        return True

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Return the folds of the training rows of a split."""
        parts = (
            KFoldPart(k=self.k, number=number, repeat=repeat, stratified=self.stratified, seed=self.seed)
            for repeat in range(self.repeats)
            for number in range(self.k)
        )
        return folds(split, tuple(parts))
