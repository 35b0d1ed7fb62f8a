"""The weights of rows: a column that is no feature, of positive finite numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, WEIGHT, locate_weight, nonmissing, typed
from when_ml_pipeline_meets_hydra.ml.datasets.values import convertible, dtype_of, null_if_missing

LIMITS = (1e-100, 1e100)  # the squares of others, and sums of these, may be no finite numbers
_REMEDY = "Correct the value, or leave such rows out"


def weight_problems(rows: RawRows) -> Iterator[Problem]:
    """Yield the problem of the first weight that is no positive finite number, among the rows with a target."""
    if (where := locate_weight(rows)) is None or rows.target not in rows.frame.collect_schema().names():
        return
    kind = dtype_of(where.physical)
    if kind is None or kind is DType.BOOL or kind.is_time or not convertible(kind, DType.FLOAT):
        message = f"its values are of type {kind or where.physical}, and weights are positive numbers"
        yield Problem(key=WEIGHT, value=rows.weight, message=message, remedy="Choose a column of numbers")
        return
    schema = rows.frame.collect_schema()
    target = null_if_missing(pl.nth(schema.names().index(rows.target)), schema[rows.target], rows.reading)
    frame = rows.frame.select(
        typed(rows, where).alias(WEIGHT), nonmissing(rows, where).alias("raw"), target.alias(TARGET)
    )
    wrong = wrong_weights(frame.with_row_index(ROW))
    found = wrong.select(pl.len().alias("count"), pl.col(ROW).first(), pl.col("raw").first())
    count, row, raw = found.collect(engine="streaming").row(0)
    if count:
        yield bad_weight(where.column.name, raw, count, f"row {row + 1:,} of ")


def bad_weight(name: str, value: Any, count: int, place: str = "") -> Problem:
    """Return the problem of ``count`` rows, in the first of which the weight in the column ``name`` is ``value``."""
    others = f" (and {count - 1:,} more)" if count > 1 else ""
    shown = "missing" if value is None else f"'{value}'"
    message = f"{place}the column '{name}' is {shown}{others}; weights are positive, finite numbers"
    return Problem(key=WEIGHT, value=name, message=message, remedy=_REMEDY)


def wrong_weights(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows with a ``target`` whose ``weight`` is no positive finite number, or one beyond the limits."""
    fits = pl.col(WEIGHT).is_between(*LIMITS)
    return rows.filter(pl.col(TARGET).is_not_null() & ~fits.fill_null(False))
