"""What is in a column, found in a few streaming passes over it."""

from __future__ import annotations

from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.stages.artifacts import Column, DType

BINS, MOST_VALUES = 20, 20
X = pl.col("x")


def describe(frame: pl.LazyFrame, column: Column, role: str, rows: int) -> dict[str, Any]:
    """One column, ``x`` in ``frame``, as JSON; ``role`` is feature or target."""
    known, distinct = (
        frame.select(X.count().alias("known"), X.drop_nulls().n_unique().alias("distinct"))
        .collect(engine="streaming")
        .row(0)
    )
    about: dict[str, Any] = {
        "name": column.name,
        "role": role,
        "dtype": column.dtype.value,
        "description": column.description,
        "missing": (rows - known) / rows if rows else 0.0,
        "distinct": distinct,
    }
    if not known:
        return {**about, "histogram": []}
    if column.dtype in (DType.STRING, DType.BOOL):
        return {**about, "histogram": _values(frame, known)}
    return {**about, **_range(frame, column.dtype), "histogram": _bins(frame, column.dtype)}


def _values(frame: pl.LazyFrame, known: int) -> list[dict[str, Any]]:
    """The most frequent values with their numbers, the rest as one."""
    counted = frame.drop_nulls().group_by(X.cast(pl.String)).len()
    top = counted.sort(["len", "x"], descending=[True, False]).head(MOST_VALUES).collect(engine="streaming")
    shown = [{"value": value, "count": count} for value, count in top.iter_rows()]
    rest = known - sum(v["count"] for v in shown)
    return [*shown, {"value": None, "count": rest}] if rest else shown


def _range(frame: pl.LazyFrame, dtype: DType) -> dict[str, Any]:
    """Least, greatest and middle value; dates as texts."""
    least, greatest, median = (
        frame.select(X.min().alias("min"), X.max().alias("max"), X.cast(pl.Float64).median().alias("median"))
        .collect(engine="streaming")
        .row(0)
    )
    if dtype is DType.DATE:
        return {"min": str(least), "max": str(greatest)}
    return {"min": least, "max": greatest, "median": median}


def _bins(frame: pl.LazyFrame, dtype: DType) -> list[dict[str, Any]]:
    """The number of values in intervals of equal width; the last one includes its end."""
    number = (X.cast(pl.Int32) if dtype is DType.DATE else X).cast(pl.Float64).alias("x")
    numbers = frame.select(number).drop_nulls()
    low, high = numbers.select(X.min().alias("low"), X.max().alias("high")).collect(engine="streaming").row(0)
    if low == high:
        return [{"from": low, "to": high, "count": numbers.select(pl.len()).collect(engine="streaming").item()}]
    width = (high - low) / BINS
    place = ((X - low) / width).floor().clip(0, BINS - 1).cast(pl.Int64)
    counted = numbers.group_by(place).len().collect(engine="streaming")
    counts = dict(counted.iter_rows())
    return [{"from": low + k * width, "to": low + (k + 1) * width, "count": counts.get(k, 0)} for k in range(BINS)]
