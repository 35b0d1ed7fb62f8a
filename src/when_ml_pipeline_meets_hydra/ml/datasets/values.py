"""Reading raw values of any Polars type as the types of a pipeline (``DType``): one conversion for all rows.

Training, batch predictions and the server use it, each with the ``Reading`` of the training data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Reading

POLARS: Mapping[DType, pl.DataType] = {
    DType.FLOAT: pl.Float64(),
    DType.INT: pl.Int64(),
    DType.STRING: pl.String(),
    DType.BOOL: pl.Boolean(),
    DType.DATE: pl.Date(),
    DType.DATETIME: pl.Datetime("us"),
}
EXPECTED = {
    DType.FLOAT: "a number",
    DType.INT: "a whole number",
    DType.STRING: "a text",
    DType.BOOL: "true or false",
    DType.DATE: "a date like 2026-01-31",
    DType.DATETIME: "a date and time like 2026-01-31T13:45:00",
}
# Whether each value can be converted depends on the value for the second group.
_CONVERTIBLE = {
    (DType.INT, DType.FLOAT),
    (DType.INT, DType.STRING),
    (DType.BOOL, DType.STRING),
    (DType.FLOAT, DType.STRING),
    (DType.DATE, DType.STRING),
    (DType.DATE, DType.DATETIME),
    (DType.DATETIME, DType.DATE),  # the day, if the config says so
    (DType.DATETIME, DType.STRING),
    *((DType.STRING, wanted) for wanted in DType),
    (DType.FLOAT, DType.INT),  # unless it has a fraction
    (DType.INT, DType.BOOL),  # 0 and 1
    (DType.FLOAT, DType.BOOL),
}
# With a decimal comma 1.500 may be a number of thousands; 12.34 and 0.500 can only have a decimal point.
_PERHAPS_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+$"
_YEARS = (1, 9999)  # Python has no others
MINUS = "\u2212"  # the minus sign of Unicode, as browsers and R's tables write it; read as "-"


def expected(dtype: DType, form: str | None = None) -> str:
    """Return what a value has to be: ``a whole number``, or ``a date like %d/%m/%Y`` with the format ``form``."""
    return f"{EXPECTED[dtype].partition(' like ')[0]} like '{form}'" if form else EXPECTED[dtype]


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


def convertible(actual: DType, wanted: DType, form: str | None = None) -> bool:
    """Whether values of type ``actual`` can be converted to ``wanted``; it may depend on each value.

    ``form`` is the format of dates in texts, and in whole numbers: 20260131 has the format ``%Y%m%d``.
    """
    as_written = actual is DType.INT and wanted.is_time and form is not None
    return actual is wanted or (actual, wanted) in _CONVERTIBLE or as_written


def null_if_missing(value: pl.Expr, physical: pl.DataType, reading: Reading) -> pl.Expr:
    """Replace everything that stands for a missing value by null."""
    numbers = sorted(reading.missing_numbers)
    kind = dtype_of(physical)
    if kind is DType.STRING:
        text = value.cast(pl.String)
        text = text.str.strip_chars() if reading.strip else text
        is_missing = text.is_in(["", *reading.missing])
        if numbers:
            is_missing |= _number(text.str.strip_chars(), reading).is_in(numbers).fill_null(False)
        return pl.when(is_missing).then(None).otherwise(text)
    value = value.fill_nan(None) if physical.is_float() else value
    if numbers and kind in (DType.INT, DType.FLOAT):
        return pl.when(value.cast(pl.Float64).is_in(numbers)).then(None).otherwise(value)
    return value


def convert(value: pl.Expr, physical: pl.DataType, wanted: DType, reading: Reading, form: str | None = None) -> pl.Expr:
    """Convert the result of ``null_if_missing`` to ``wanted``; null where that is impossible.

    ``form`` is the format of dates in texts (None: ISO 8601). A timestamp with a time zone becomes the day and the time
    of day in this zone.
    """
    actual = dtype_of(physical)
    if actual is None or not convertible(actual, wanted, form):
        return pl.lit(None, dtype=POLARS[wanted])
    if actual is DType.INT and wanted.is_time:
        value, actual = value.cast(pl.String), DType.STRING
    if actual is DType.STRING:
        return _parse(value, wanted, reading, form)
    if wanted is DType.BOOL and actual is not DType.BOOL:
        return _truth(value)
    if wanted is DType.INT and actual is DType.FLOAT:
        return _whole(value.cast(pl.Float64))
    if actual is DType.DATETIME:
        value = value.dt.replace_time_zone(None)
    made = value.cast(POLARS[wanted], strict=False)
    return pl.when(made.dt.year().is_between(*_YEARS)).then(made) if wanted.is_time else made


def truth_word(text: pl.Expr) -> pl.Expr:
    """Return true and false for these words, in any case; null for other texts."""
    word = text.str.strip_chars().str.to_lowercase()
    return pl.when(word == "true").then(True).when(word == "false").then(False).otherwise(None)


def _parse(text: pl.Expr, wanted: DType, reading: Reading, form: str | None) -> pl.Expr:
    if wanted is DType.STRING:
        return text
    text = text.str.strip_chars()
    if wanted.is_time:
        return dates.day(text, form) if wanted is DType.DATE else dates.moment(text, form)
    number = _number(text, reading)
    if wanted is DType.BOOL:
        return pl.coalesce(truth_word(text), _truth(number))
    if wanted is DType.FLOAT:
        return number
    return pl.coalesce(_plain(text, reading).cast(pl.Int64, strict=False), _whole(number))


def _number(text: pl.Expr, reading: Reading) -> pl.Expr:
    # "nan" parses as a number, but is a missing value.
    return _plain(text, reading).cast(pl.Float64, strict=False).fill_nan(None)


def _plain(text: pl.Expr, reading: Reading) -> pl.Expr:
    """The text of a number as programs write it; null unless its separators stand where they may."""
    text = text.str.replace_all(MINUS, "-", literal=True)
    if (reading.decimal, reading.thousands) == (".", ""):
        return text
    is_number = text.str.contains(number_pattern(reading.decimal, reading.thousands))
    if (reading.decimal, reading.thousands) == (",", ""):
        is_number |= text.str.contains(number_pattern(".", "")) & ~text.str.contains(_PERHAPS_THOUSANDS)
    plain = text.str.replace_all(reading.thousands, "", literal=True) if reading.thousands else text
    return pl.when(is_number).then(plain.str.replace(reading.decimal, ".", literal=True))


def number_pattern(decimal: str, thousands: str) -> str:
    """Return the regular expression, for Python and Polars, of all numbers with such separators."""
    decimal, thousands = (f"[{re.escape(c)}]" if c else "" for c in (decimal, thousands))
    whole = rf"([0-9]+|[0-9]{{1,3}}({thousands}[0-9]{{3}})+)" if thousands else "[0-9]+"
    return rf"^[+\-{MINUS}]?({whole}({decimal}[0-9]*)?|{decimal}[0-9]+)([eE][+\-{MINUS}]?[0-9]+)?$"


def _truth(number: pl.Expr) -> pl.Expr:
    return pl.when(number == 1).then(True).when(number == 0).then(False).otherwise(None)


def _whole(number: pl.Expr) -> pl.Expr:
    return pl.when(number == number.floor()).then(number).otherwise(None).cast(pl.Int64, strict=False)


def read(
    values: Sequence[Any], wanted: DType, reading: Reading, form: str | None = None
) -> tuple[pl.Series, list[int]]:
    """Read Python values (texts, numbers, truth values, None), which may be of different types.

    Returns:
        The values, of the Polars type of ``wanted``, null where missing; and the places of the values that cannot be
        converted.
    """
    kinds = [_physical(value) for value in values]
    result = pl.Series([None] * len(values), dtype=POLARS[wanted])
    bad = [k for k, kind in enumerate(kinds) if kind is None]
    for physical in {kind for kind in kinds if kind not in (None, pl.Null)}:
        places = [k for k, kind in enumerate(kinds) if kind == physical]
        own = [str(values[k]) if physical == pl.String else values[k] for k in places]
        given = null_if_missing(pl.nth(0), physical, reading)
        frame = pl.Series("x", own, dtype=physical).to_frame()
        both = frame.select(given=given, value=convert(given, physical, wanted, reading, form))
        is_bad = both["given"].is_not_null() & both["value"].is_null()
        bad += [places[k] for k in is_bad.arg_true()]
        result = result.scatter(places, both["value"])
    return result, sorted(bad)


def _physical(value: Any) -> Any:
    """The Polars type of a Python value; whole numbers that need more than 64 bits are texts; None: no such type."""
    if value is None:
        return pl.Null
    if isinstance(value, bool):
        return pl.Boolean
    if isinstance(value, int):
        return pl.Int64 if -(2**63) <= value < 2**63 else pl.String
    if isinstance(value, float):
        return pl.Float64
    return pl.String if isinstance(value, str) else None
