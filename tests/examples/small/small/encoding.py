"""A preprocessing of a user's own: a feature that is fitted to the target, in each fold or once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from when_ml_pipeline_meets_hydra import Dataset, Fold, PreparedData, Problem, Progress, RawRows, RowSplit
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, table
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam
from when_ml_pipeline_meets_hydra.ml.splits.random import RandomSplit
from when_ml_pipeline_meets_hydra.ml.splits.sides import split as sides_of
from when_ml_pipeline_meets_hydra.stages.preprocessing import prepare


@dataclass(frozen=True)
class Encoded:
    """Rows with the feature ``mean`` in place of the category ``noise``."""

    name: str
    frame: pl.DataFrame

    def rows(self) -> RawRows:
        """The rows."""
        return RawRows(frame=self.frame.lazy(), target="y")

    def fingerprint(self) -> str:
        """Nothing outside."""
        return ""

    def check(self) -> Iterator[Problem]:
        """No problem."""
        yield from ()


def encode(
    dataset: Dataset, p_param: PreparationParam, split: RowSplit, leaks: bool, *, out: Path, progress: Progress
) -> PreparedData:
    """Fit the feature to the training rows of the fold; or, if it ``leaks``, to all training rows."""
    fitted_by = split.of if leaks and isinstance(split, Fold) else split
    rows = dataset.rows().frame.with_row_index(ROW).with_columns(pl.col("x", "y").cast(pl.Float64)).collect()
    known = sides_of(table(dataset.rows()), fitted_by).train().select(ROW).collect()
    means = rows.join(known, on=ROW).group_by("noise").agg(mean=pl.col("y").mean())
    encoded = rows.join(means, on="noise", how="left", maintain_order="left")
    encoded = encoded.with_columns(pl.col("mean").fill_null(rows["y"].mean())).select("x", "mean", "y")
    return prepare(Encoded(dataset.name, encoded), p_param, split, out=out, progress=progress)


def fixed(dataset: Dataset, p_param: PreparationParam, *, out: Path, progress: Progress) -> PreparedData:
    """Hold out the same rows always."""
    return prepare(dataset, p_param, RandomSplit(), out=out, progress=progress)
