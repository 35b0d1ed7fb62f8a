"""The profile of a column, computed in two streaming passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.datasets import column_contracts

BINS, MOST_VALUES = 20, 20
X = pl.col("x")


def describe(frame: pl.LazyFrame, column: Column, role: str, rows: int) -> dict[str, Any]:
    """Return the profile, as JSON, of a column, ``x`` in ``frame``; ``role`` is feature or target."""
    counted = {"count": X.count(), "distinct": X.drop_nulls().n_unique()}
    is_ordered = not column.dtype.is_text
    ends = {"min": X.min(), "max": X.max(), "median": X.cast(pl.Float64).median()} if is_ordered else {}
    measured = frame.select(**counted, **ends).collect(engine="streaming").row(0, named=True)
    count = measured["count"]
    described: dict[str, Any] = {
        "name": column.name,
        "role": role,
        "dtype": column.dtype.value,
        "description": column.description,
        "rules": list(column_contracts.described(column)),
        "missing": (rows - count) / rows if rows else 0.0,
        "distinct": measured["distinct"],
    }
    if not count:
        return {**described, "histogram": []}
    if not is_ordered:
        return {**described, "histogram": _values(frame, count)}
    return {**described, **_range(measured, column.dtype), "histogram": _bins(frame, column.dtype, measured, count)}


def _values(frame: pl.LazyFrame, count: int) -> list[dict[str, Any]]:
    """The counts of the most frequent values, and of all others together."""
    counted = frame.drop_nulls().group_by(X.cast(pl.String)).len()
    top = counted.sort(["len", "x"], descending=[True, False]).head(MOST_VALUES).collect(engine="streaming")
    shown = [{"value": value, "count": count} for value, count in top.iter_rows()]
    rest = count - sum(v["count"] for v in shown)
    return [*shown, {"value": None, "count": rest}] if rest else shown


def _range(measured: Mapping[str, Any], dtype: DType) -> dict[str, Any]:
    """Minimum, maximum and median; of dates and datetimes the first two, as texts."""
    if dtype.is_time:
        return {"min": str(measured["min"]), "max": str(measured["max"])}
    return {end: measured[end] for end in ("min", "max", "median")}


def _bins(frame: pl.LazyFrame, dtype: DType, measured: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The counts of values in intervals of equal width; the last one includes its end."""
    low, high = (_position(measured[end]) for end in ("min", "max"))
    if low == high:
        return [{"from": low, "to": high, "count": count}]
    value = (X.to_physical() if dtype.is_time else X).cast(pl.Float64) / (1e6 if dtype is DType.DATETIME else 1)
    width = (high - low) / BINS
    place = ((X - low) / width).floor().clip(0, BINS - 1).cast(pl.Int64)
    counted = frame.select(value).drop_nulls().group_by(place).len().collect(engine="streaming")
    counts = dict(counted.iter_rows())
    return [{"from": low + k * width, "to": low + (k + 1) * width, "count": counts.get(k, 0)} for k in range(BINS)]


def _position(value: float | date) -> float:
    """A value as a number, as in ``DType``."""
    if isinstance(value, datetime):
        return dates.seconds(value)
    return dates.days(value) if isinstance(value, date) else float(value)
