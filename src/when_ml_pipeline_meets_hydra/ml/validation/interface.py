"""The Protocol of validations: the folds of the training rows, in which models are trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.ml.splits.folds import Fold
from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit


@runtime_checkable
class Validation(Protocol):
    """Folds of the training rows, by which a combination is scored without its held-out rows."""

    @property
    def is_wanted(self) -> bool:
        """Whether a training is to be validated before."""

    def folds(self, split: RowSplit, dataset: Dataset) -> Sequence[Fold]:
        """Return the folds of the training rows of a split.

        Raises:
            BadInput: there are none for this split.
        """


def column_of(column: str | None, split: Any, kind: str) -> str:
    """Return the column of the folds: the given one, otherwise that of the split.

    Raises:
        BadInput: there is neither.
    """
    found = column or getattr(split, "column", None)
    if not found:
        message = f"the column is needed, since the split has none: {kind}"
        raise BadInput(Problem(key="validation.column", message=message, remedy="Add validation.column=…"))
    return str(found)
