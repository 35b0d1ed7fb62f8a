"""Where the rows come from that a trained model is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows, N of them.

    Either ``features``, float32 [N, F], as preprocessing made them, or ``raw``: a tensor [N, 1] for each raw column.
    ``target``, [N]: numbers, or names of classes; null where it is not known. ``ids``, [N]: what tells rows apart
    besides their number, as texts, where there is such a column.
    """

    target: pl.Series
    features: Array | None = None
    raw: Mapping[str, Array] | None = None
    ids: pl.Series | None = None


@runtime_checkable
class PredictionRows(Protocol):
    """Rows with the columns that a model was trained on."""

    @property
    def name(self) -> str:
        """What these rows are, in reports."""

    def batches(self, data: PreparedData, folder: Path) -> Iterator[Batch]:
        """The rows in their order, some at a time; files that are needed meanwhile go into ``folder``.

        Raises:
            BadInput: a column that the model needs is not there.
        """
