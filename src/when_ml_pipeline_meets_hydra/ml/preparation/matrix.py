"""The fitted preprocessing as Polars expressions, and the inputs of its ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.datasets.table import column
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import number
from when_ml_pipeline_meets_hydra.ml.preparation import resolution
from when_ml_pipeline_meets_hydra.ml.preparation.categories import text
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted, Number

# The largest float32: a larger double would become infinite, which no model accepts.
LARGEST = 3.4028234663852886e38


def features(fitted: Fitted, names: Sequence[str]) -> list[pl.Expr]:
    """Return the features, none with a missing value, as ``names``: numbers are Float32, all others Boolean."""
    made = [_scaled(n, _number(fitted, n).fill_null(n.fill)) for n in fitted.numbers]
    made += [pl.col(column(n.index)).is_null() for n in fitted.indicators]
    made += [text(column(c.index)) == pl.lit(value) for c in fitted.categories for value in c.values]
    return [expression.alias(name) for expression, name in zip(made, names, strict=True)]


def check_resolution(train: pl.LazyFrame, rows: int, fitted: Fitted, scaling: str) -> list[str]:
    """Return a line for each number some of whose different values coincide as features; see ``resolution.check``."""
    names = [fitted.columns[n.index].name for n in fitted.numbers]
    numbers = [_number(fitted, n) for n in fitted.numbers]
    # Whole numbers beyond 2^53 coincide as 64-bit floats already.
    values = [
        pl.col(column(n.index)) if fitted.columns[n.index].dtype is DType.INT else x
        for n, x in zip(fitted.numbers, numbers, strict=True)
    ]
    scaled = [_scaled(n, x) for n, x in zip(fitted.numbers, numbers, strict=True)]
    return resolution.check(train, rows, names, values, scaled, scaling)


def _number(fitted: Fitted, n: Number) -> pl.Expr:
    return number(column(n.index), fitted.columns[n.index].dtype, n.part)


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
