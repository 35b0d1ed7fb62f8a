"""Conversion of values of any Polars type to the types of a pipeline (``DType``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import DType

POLARS: Mapping[DType, pl.DataType] = {
    DType.FLOAT: pl.Float64(),
    DType.INT: pl.Int64(),
    DType.STRING: pl.String(),
    DType.BOOL: pl.Boolean(),
    DType.DATE: pl.Date(),
    DType.DATETIME: pl.Datetime("us"),
}
_CONVERTIBLE = {
    (DType.INT, DType.FLOAT),
    (DType.INT, DType.STRING),
    (DType.BOOL, DType.INT),
    (DType.BOOL, DType.FLOAT),
    (DType.BOOL, DType.STRING),
    (DType.FLOAT, DType.STRING),
    (DType.DATE, DType.STRING),
    (DType.DATE, DType.DATETIME),
    (DType.DATETIME, DType.DATE),  # the day, if it is asked for
    (DType.DATETIME, DType.STRING),
    (DType.FLOAT, DType.INT),  # as long as no value has a fraction
}


def dtype_of(physical: pl.DataType) -> DType | None:
    """Return the type for a physical type of Polars, or None, as for a list."""
    if physical in (pl.UInt64, pl.Int128) or physical.is_float() or physical.is_decimal():
        return DType.FLOAT
    if physical.is_integer():
        return DType.INT
    if physical in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return DType.STRING
    if physical == pl.Boolean:
        return DType.BOOL
    if physical == pl.Datetime:
        return DType.DATETIME
    return DType.DATE if physical == pl.Date else None


def convertible(actual: DType, wanted: DType) -> bool:
    """Whether values of type ``actual`` can be converted to ``wanted``; texts may be, depending on each value."""
    return actual in (wanted, DType.STRING) or (actual, wanted) in _CONVERTIBLE


def null_if_missing(value: pl.Expr, physical: pl.DataType, missing: Sequence[str], *, strip: bool) -> pl.Expr:
    """Replace everything that stands for a missing value by null; ``strip`` removes blanks around texts."""
    if dtype_of(physical) is not DType.STRING:
        return value.fill_nan(None) if physical.is_float() else value
    text = value.cast(pl.String)
    text = text.str.strip_chars() if strip else text
    return pl.when(text.is_in(["", *missing])).then(None).otherwise(text)


def convert(value: pl.Expr, physical: pl.DataType, wanted: DType, form: str | None = None) -> pl.Expr:
    """Convert the result of ``null_if_missing`` to ``wanted``; null where that is impossible.

    ``form`` is the format of dates in texts (None: ISO 8601). A timestamp with a time zone becomes the day and the time
    of day in this zone.
    """
    actual = dtype_of(physical)
    if actual is DType.STRING:
        return _parse(value, wanted, form)
    if actual is DType.DATETIME:
        value = value.dt.replace_time_zone(None)
    if actual is DType.FLOAT and wanted is DType.INT:
        number = value.cast(pl.Float64)
        return pl.when(number == number.floor()).then(number).otherwise(None).cast(pl.Int64, strict=False)
    return value.cast(POLARS[wanted], strict=False)


def _parse(text: pl.Expr, wanted: DType, form: str | None) -> pl.Expr:
    if wanted is DType.STRING:
        return text
    text = text.str.strip_chars()
    if wanted is DType.BOOL:
        word = text.str.to_lowercase()
        return pl.when(word == "true").then(True).when(word == "false").then(False).otherwise(None)
    if wanted.is_time:
        return dates.day(text, form) if wanted is DType.DATE else dates.moment(text, form)
    # "nan" parses as a number, but is a missing value.
    number = text.cast(pl.Float64, strict=False).fill_nan(None)
    if wanted is DType.FLOAT:
        return number
    whole = text.cast(pl.Int64, strict=False)
    return pl.coalesce(
        whole, pl.when(number == number.floor()).then(number).otherwise(None).cast(pl.Int64, strict=False)
    )
