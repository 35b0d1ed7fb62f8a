"""The Protocol of sources of rows to predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, no_column

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of N rows.

    Either ``features``, float32 [N, F], made by preprocessing, or ``raw``: a tensor [N, 1] for each raw column.
    ``target``, [N]: numbers, or names of classes; null where it is unknown. ``numbers``, [N]: the place of each row in
    its data set, from 0; None: consecutive ones. ``ids``, [N]: identifiers of the rows, as texts, if there is a column
    of them. ``weights``, [N], with the name of their column: those with which the rows count in metrics;
    None: all count the same.
    """

    target: pl.Series
    numbers: pl.Series | None = None
    features: Array | None = None
    raw: Mapping[str, Array] | None = None
    ids: pl.Series | None = None
    weights: pl.Series | None = None


@runtime_checkable
class PredictionRows(Protocol):
    """A source of rows with the columns that a model was trained on."""

    @property
    def name(self) -> str:
        """Name of the rows in reports."""

    def batches(self, data: PreparedData, folder: Path) -> Iterator[Batch]:
        """Yield the rows in batches, in order; ``folder`` is for temporary files.

        Raises:
            BadInput: a column that the model needs is missing.
        """


def identifiers(raw: RawRows, name: str) -> pl.Series:
    """Return the values of the column ``rows.id`` as texts. Raises ``BadInput`` if there is no such column."""
    import polars as pl

    names = raw.frame.collect_schema().names()
    if name not in names:
        raise BadInput(no_column("rows.id", name, names))
    return raw.frame.select(id=pl.nth(names.index(name)).cast(pl.String)).collect(engine="streaming")["id"]
