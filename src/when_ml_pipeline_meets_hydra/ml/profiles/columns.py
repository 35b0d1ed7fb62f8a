"""The profile of a column, computed in two streaming passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType

BINS, MOST_VALUES = 20, 20
X = pl.col("x")
EPOCH = date(1970, 1, 1)


def describe(frame: pl.LazyFrame, column: Column, role: str, rows: int) -> dict[str, Any]:
    """Return the profile, as JSON, of a column, ``x`` in ``frame``; ``role`` is feature or target."""
    counted = {"known": X.count(), "distinct": X.drop_nulls().n_unique()}
    is_ordered = not column.dtype.is_text
    ends = {"min": X.min(), "max": X.max(), "median": X.cast(pl.Float64).median()} if is_ordered else {}
    found = frame.select(**counted, **ends).collect(engine="streaming").row(0, named=True)
    known = found["known"]
    about: dict[str, Any] = {
        "name": column.name,
        "role": role,
        "dtype": column.dtype.value,
        "description": column.description,
        "missing": (rows - known) / rows if rows else 0.0,
        "distinct": found["distinct"],
    }
    if not known:
        return {**about, "histogram": []}
    if not is_ordered:
        return {**about, "histogram": _values(frame, known)}
    return {**about, **_range(found, column.dtype), "histogram": _bins(frame, column.dtype, found, known)}


def _values(frame: pl.LazyFrame, known: int) -> list[dict[str, Any]]:
    """The counts of the most frequent values, and of all others together."""
    counted = frame.drop_nulls().group_by(X.cast(pl.String)).len()
    top = counted.sort(["len", "x"], descending=[True, False]).head(MOST_VALUES).collect(engine="streaming")
    shown = [{"value": value, "count": count} for value, count in top.iter_rows()]
    rest = known - sum(v["count"] for v in shown)
    return [*shown, {"value": None, "count": rest}] if rest else shown


def _range(found: Mapping[str, Any], dtype: DType) -> dict[str, Any]:
    """Minimum, maximum and median; of dates the first two, as texts."""
    if dtype is DType.DATE:
        return {"min": str(found["min"]), "max": str(found["max"])}
    return {end: found[end] for end in ("min", "max", "median")}


def _bins(frame: pl.LazyFrame, dtype: DType, found: Mapping[str, Any], known: int) -> list[dict[str, Any]]:
    """The counts of values in intervals of equal width; the last one includes its end."""
    is_date = dtype is DType.DATE
    low, high = (float((found[end] - EPOCH).days if is_date else found[end]) for end in ("min", "max"))
    if low == high:
        return [{"from": low, "to": high, "count": known}]
    number = (X.cast(pl.Int32) if is_date else X).cast(pl.Float64).alias("x")
    width = (high - low) / BINS
    place = ((X - low) / width).floor().clip(0, BINS - 1).cast(pl.Int64)
    counted = frame.select(number).drop_nulls().group_by(place).len().collect(engine="streaming")
    counts = dict(counted.iter_rows())
    return [{"from": low + k * width, "to": low + (k + 1) * width, "count": counts.get(k, 0)} for k in range(BINS)]
