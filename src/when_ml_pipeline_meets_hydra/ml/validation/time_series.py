"""Validation forward in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold, TimeWindow, folds
from when_ml_pipeline_meets_hydra.ml.validation.interface import column_of

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit


@frozen
class TimeSeries:
    """Each of k parts of time is held out in turn, and only the rows before it are trained on."""

    column: Annotated[
        str | None, Field(min_length=1, description="Column of dates, times or numbers; null: that of the split")
    ] = None
    k: Annotated[int, Field(ge=1, le=100, description="Number of parts that are held out in turn")] = 5

    @property
    def is_wanted(self) -> bool:
        """Whether a training is to be validated before."""
        return True

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Return the folds of the training rows of a split."""
        column = column_of(self.column, split, "it holds the times by which the rows are ordered")
        return folds(split, tuple(TimeWindow(column=column, number=number, k=self.k) for number in range(self.k)))
