"""Checks of columns of numbers: values beside which nothing can be learnt, and whole numbers beyond 2^53."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.table import LEAVE_OUT, Located, nonmissing, typed
from when_ml_pipeline_meets_hydra.ml.datasets.values import dtype_of

LARGEST = 1e150  # the square of a number has to be a number
EXACT = 2**53  # up to here, 64-bit floats are exact whole numbers
# In 32-bit floats, values are alike beside one that is 10^7 times as far away; with less than this a median is no typo.
_FAR = 1e12
_SAMPLE_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The values ``low`` to ``high`` that a column may have; half of them lie between ``usual``, if it is known."""

    low: float = -LARGEST
    high: float = LARGEST
    usual: tuple[float, float] | None = None

    def problem(self, key: str, where: Located, row: int, value: str) -> Problem:
        """Return the problem of a value outside, in a ``row`` (from 1)."""
        least, most = self.usual or (0.0, 0.0)
        half = f", while half of the values lie between {least:.4g} and {most:.4g}" if self.usual else ""
        return Problem(
            key=key,
            message=f"row {row} of the column '{where.column.name}' is {value}{half}: nothing can be learnt beside it",
            remedy="Correct the value, or add it to dataset.null_values if it means a missing one",
        )


def bounds(rows: RawRows, columns: Sequence[Located]) -> Mapping[int, Bounds]:
    """Return, by position, the bounds of the columns of numbers, from the quartiles of the first rows."""
    numeric = [where for where in columns if where.column.dtype in (DType.FLOAT, DType.INT)]
    if not numeric:
        return {}
    values = {str(where.position): typed(rows, where).cast(pl.Float64) for where in numeric}
    first = rows.frame.head(_SAMPLE_ROWS).select(**values).collect(engine="streaming")
    return {where.position: _bounds(first[str(where.position)]) for where in numeric}


def _bounds(sample: pl.Series) -> Bounds:
    lower, upper = sample.quantile(0.25, "nearest"), sample.quantile(0.75, "nearest")
    if lower is None or upper is None or not lower < upper:
        return Bounds()
    reach = _FAR * (upper - lower)
    return Bounds(low=max(-LARGEST, lower - reach), high=min(LARGEST, upper + reach), usual=(lower, upper))


def beyond_exact(value: pl.Expr, where: Located) -> pl.Expr:
    """Whether each value of a column may be a number that is no 64-bit float, as whole numbers beyond 2^53 are."""
    if where.column.dtype not in (DType.FLOAT, DType.INT) or where.physical.is_float():
        return pl.lit(False)
    limit = EXACT / 10 ** (getattr(where.physical, "scale", 0) or 0)
    return ~value.is_between(-limit, limit, closed="none")


def inexact(rows: RawRows, where: Located, key: str) -> Iterator[Problem]:
    """Yield the problem of numbers of which fewer are different as 64-bit floats, as whole numbers beyond 2^53."""
    exact = _exact(rows, where)
    value = typed(rows, where).filter(exact.is_not_null()).cast(pl.Float64)
    counts = rows.frame.select(before=exact.drop_nulls().n_unique(), after=value.drop_nulls().n_unique())
    before, after = counts.collect(engine="streaming").row(0)
    if before <= after:
        return
    is_target = where.column.name == rows.target
    yield Problem(
        key=key,
        message=f"the column '{where.column.name}' has numbers beyond 2^53 (9,007,199,254,740,992), and only "
        f"{after:,} of its {before:,} different values are different as 64-bit floats",
        remedy="Predict the difference to one of them, or classes: dataset.task=classification"
        if is_target
        else f"{LEAVE_OUT}, or list it with dtype string",
    )


def _exact(rows: RawRows, where: Located) -> pl.Expr:
    """The values of a column before they become floats; of texts those of whole numbers."""
    if where.column.dtype is DType.INT:
        return typed(rows, where)
    raw = nonmissing(rows, where)
    is_text = dtype_of(where.physical) is DType.STRING
    return raw.str.strip_chars().str.extract(r"^\+?(-?[1-9][0-9]{15,})$") if is_text else raw
