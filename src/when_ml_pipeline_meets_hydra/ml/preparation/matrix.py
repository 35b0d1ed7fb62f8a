"""The fitted preprocessing as Polars expressions, and the inputs of its ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column
from when_ml_pipeline_meets_hydra.ml.datasets.table import column
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted, Number, number, text
from when_ml_pipeline_meets_hydra.ml.preparation.resolution import Loss, losses

# The largest float32: a larger double would become infinite, which no model accepts.
LARGEST = 3.4028234663852886e38


def features(fitted: Fitted, names: Sequence[str]) -> list[pl.Expr]:
    """Return the features, none with a missing value, as ``names``: numbers are Float32, all others Boolean."""
    made = [_scaled(n, raw(fitted, n).fill_null(n.fill)) for n in fitted.numbers]
    made += [pl.col(column(n.index)).is_null() for n in fitted.indicators]
    made += [text(column(c.index)) == pl.lit(value) for c in fitted.categories for value in c.values]
    return [expression.alias(name) for expression, name in zip(made, names, strict=True)]


def raw(fitted: Fitted, n: Number) -> pl.Expr:
    """Return a column of numbers before preprocessing, as Float64."""
    return number(column(n.index), fitted.columns[n.index].dtype, n.part)


def lost(train: pl.LazyFrame, rows: int, fitted: Fitted) -> Mapping[int, Loss]:
    """Return the numbers, by position, whose different values are fewer as features."""
    values = [raw(fitted, n) for n in fitted.numbers]
    scaled = [_scaled(n, x) for n, x in zip(fitted.numbers, values, strict=True)]
    return losses(train, rows, values, scaled)


def _scaled(n: Number, x: pl.Expr) -> pl.Expr:
    return ((x - n.center) / n.scale).clip(-LARGEST, LARGEST).cast(pl.Float32)


def feeds(rows: pl.DataFrame, columns: Sequence[Column]) -> dict[str, np.ndarray[Any, Any]]:
    """Return raw rows (columns ``c0``, ``c1`` …) as the inputs of the graph, each [N, 1]."""
    made = rows.select(_feed(k, c).alias(column(k)) for k, c in enumerate(columns))
    return {c.name: _array(made.to_series(k)) for k, c in enumerate(columns)}


def _feed(index: int, described: Column) -> pl.Expr:
    name = column(index)
    return text(name) if described.dtype.is_text else number(name, described.dtype).fill_null(float("nan"))


def _array(values: pl.Series) -> np.ndarray[Any, Any]:
    made = values.to_numpy() if values.dtype.is_float() else np.array(values.to_list(), dtype=object)
    return made.reshape(-1, 1)
