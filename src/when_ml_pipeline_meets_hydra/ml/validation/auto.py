"""Validation where combinations are compared, in folds that fit the data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import DIRECTIONS
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold
from when_ml_pipeline_meets_hydra.ml.splits.interface import separated_by
from when_ml_pipeline_meets_hydra.ml.validation.group import GroupKFold
from when_ml_pipeline_meets_hydra.ml.validation.holdout import Holdout
from when_ml_pipeline_meets_hydra.ml.validation.interface import Validation
from when_ml_pipeline_meets_hydra.ml.validation.k_fold import KFold
from when_ml_pipeline_meets_hydra.ml.validation.time_series import TimeSeries

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
    from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit

MOST_ROWS = 20_000  # of a data set that is validated in folds
_STAGES = ("", "modeling", "validation")


def is_of_models(metric: str | Sequence[str] | None, known: Collection[str]) -> bool:
    """Return whether the metric of an objective, or one of several, is among the ``known`` ones, of a model."""
    metrics = (metric or "",) if isinstance(metric, str | None) else metric
    parts = (name.rpartition(".") for name in metrics)
    return any(stage in _STAGES and name in known for stage, _, name in parts)


@frozen
class Auto:
    """With an objective, 5 folds that fit the split, or one part of more than 20,000 rows; without one, nothing."""

    metric: Annotated[
        str | list[str] | None,
        Unkeyed(),
        Field(description="The metric of the objective, or several, if there are any"),
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the parts")] = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a metric of the objective is one of models."""
        return is_of_models(self.metric, DIRECTIONS)

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Return the folds of the training rows of a split."""
        return self._chosen(split, dataset).folds(split, dataset)

    def _chosen(self, split: RowSplit, dataset: Dataset) -> Validation:
        if _is_long(dataset):
            return Holdout(seed=self.seed)
        separated = separated_by(split)
        if separated is None:
            return KFold(seed=self.seed)
        return TimeSeries() if separated.in_time else GroupKFold(seed=self.seed)


def _is_long(dataset: Dataset) -> bool:
    try:
        return hasattr(dataset, "is_longer_than") and bool(dataset.is_longer_than(MOST_ROWS))
    except BadInput:  # reported by the data set itself
        return False
