"""Encode raw rows, as JSON objects or tensors of the Open Inference Protocol, as inputs of a graph.

Values are read as those of the training data were. What needs no conversion takes a short way here; everything else
goes through ``ml.datasets.values``, as in training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.errors import PipelineError, did_you_mean
from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Reading

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
MANY = 16  # from this many values on, numpy's functions are faster than Python's
NUMBERS = frozenset({"FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8"})
# What Polars strips from a text: Unicode's white space, to which str.strip adds four control characters.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = 2.0**63  # whole numbers are below


class BadRow(PipelineError):
    """A value in a request that does not fit its column."""


class _NeedsConversion(Exception):
    """A value that is not of its column's type as it is."""


def feeds_from_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], reading: Reading) -> Feeds:
    """Return tensors [N, 1] by column from N rows; a key that is missing or null is a missing value.

    Raises:
        BadRow: a row has an unknown key, or a value that cannot be read as its column's type.
    """
    names = {column.name for column in columns}
    if not set().union(*rows) <= names:
        number, key = next((n, min(row.keys() - names)) for n, row in enumerate(rows) if row.keys() - names)
        raise BadRow(f"rows[{number}].{key}: there is no such input. {did_you_mean(key, names)}")
    return {
        column.name: _tensor(column, [row.get(column.name) for row in rows], reading, "rows[{}].{}")
        for column in columns
    }


def feeds_from_tensors(
    columns: Sequence[Column], tensors: Mapping[str, tuple[str, Sequence[Any] | Array]], reading: Reading
) -> Feeds:
    """Return tensors [N, 1] by column from the flat data of a protocol's request: name → datatype and N values.

    Numbers are a list, or an array of 64-bit floats in which NaN is a missing value.

    Raises:
        BadRow: an input is missing, unknown, of a wrong datatype or length, or holds a bad value.
    """
    names = {column.name for column in columns}
    for name in [*tensors.keys() - names, *names - tensors.keys()]:
        wrong = "is missing" if name in names else f"there is no such input. {did_you_mean(name, names)}"
        raise BadRow(f"inputs.{name}: {wrong}")
    if len({len(data) for _, data in tensors.values()}) > 1:
        raise BadRow("inputs: all of them need the same number of rows")
    return {column.name: _tensor_from(column, *tensors[column.name], reading) for column in columns}


def _tensor_from(column: Column, datatype: str, data: Sequence[Any] | Array, reading: Reading) -> Array:
    allowed = _DATATYPES[column.dtype]
    if datatype not in allowed:
        raise BadRow(f"inputs.{column.name}: the datatype is {datatype}, allowed: {', '.join(sorted(allowed))}")
    # In the protocol, a date is a number of days, and a datetime one of seconds.
    kind = {DType.DATE: DType.INT, DType.DATETIME: DType.FLOAT}.get(column.dtype, column.dtype)
    return _tensor(Column(name=column.name, dtype=kind), data, reading, "inputs[{1}].data[{0}]")


def _tensor(column: Column, values: Sequence[Any] | Array, reading: Reading, place: str) -> Array:
    if len(values) >= MANY and (tensor := _convert_all(column.dtype, values, reading)) is not None:
        return tensor
    if isinstance(values, np.ndarray):
        values = [None if math.isnan(value) else value for value in values.tolist()]
    as_it_is, dtype = _READERS[column.dtype]
    try:
        read = [as_it_is(value, reading, column.format) for value in values]
    except _NeedsConversion:
        read = _converted(column, values, reading, place)
    return np.array(read, dtype=dtype).reshape(-1, 1)


def _converted(column: Column, values: Sequence[Any], reading: Reading, place: str) -> list[Any]:
    """Read values as in training. Raises ``BadRow`` for one that cannot be read as the column's type."""
    from when_ml_pipeline_meets_hydra.ml.datasets.values import expected, read

    def refuse(number: int, wrong: str) -> BadRow:
        shown = repr(values[number]) if len(repr(values[number])) <= 40 else repr(values[number])[:40] + "…"
        return BadRow(f"{place.format(number, column.name)}: {shown} is not {wrong}")

    for number, value in enumerate(values):
        if isinstance(value, str) and not _is_unicode(value):
            raise refuse(number, "a text of valid Unicode")
    made, bad = read(values, column.dtype, reading, column.format)
    if bad is not None:
        raise refuse(bad, expected(column.dtype, column.format))
    found = made.to_list()
    if column.dtype.is_time:
        position: Callable[[Any], float] = dates.days if column.dtype is DType.DATE else dates.seconds
        return [math.nan if time is None else position(time) for time in found]
    if column.dtype is DType.BOOL:
        return ["" if truth is None else str(truth).lower() for truth in found]
    if column.dtype is DType.STRING:
        return [text or "" for text in found]
    for number, value in enumerate(found):
        if value is not None and not math.isfinite(value):
            raise refuse(number, "a finite number")
    return [math.nan if value is None else float(value) for value in found]


def _convert_all(dtype: DType, values: Sequence[Any] | Array, reading: Reading) -> Array | None:
    """Convert many values that need no reading at once; return None if one of them does."""
    kinds = {float} if isinstance(values, np.ndarray) else set(map(type, values))
    if dtype in (DType.FLOAT, DType.INT) and kinds <= {float, int, type(None)} and not reading.missing_numbers:
        try:
            numbers = np.array(values, dtype=float)  # None becomes NaN
        except OverflowError:
            return None
        if np.isinf(numbers).any():
            return None
        if dtype is DType.FLOAT:
            return numbers.reshape(-1, 1)
        whole = np.array_equal(numbers, np.trunc(numbers), equal_nan=True) and not (np.abs(numbers) >= _WHOLE).any()
        return numbers.reshape(-1, 1) + 0.0 if whole else None
    if dtype is DType.STRING and kinds == {str} and _is_unicode("".join(values)):
        return np.array([_text(value, reading, None) for value in values], dtype=object).reshape(-1, 1)
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: Any, reading: Reading, form: str | None) -> float:
    if value is None:
        return math.nan
    if type(value) is float or (type(value) is int and -_WHOLE < value < _WHOLE):
        number = float(value)
        if math.isfinite(number):
            return math.nan if number in reading.missing_numbers else number
    raise _NeedsConversion


def _whole_number(value: Any, reading: Reading, form: str | None) -> float:
    number = _number(value, reading, form)
    if number != number or (number.is_integer() and -_WHOLE < number < _WHOLE):
        return number + 0.0  # whole numbers have no negative zero
    raise _NeedsConversion


def _text(value: Any, reading: Reading, form: str | None) -> str:
    if value is None:
        return ""
    if type(value) is not str or reading.missing_numbers or not (value.isascii() or _is_unicode(value)):
        raise _NeedsConversion
    text = value.strip(BLANKS) if reading.strip else value
    return "" if text in reading.missing else text


def _truth(value: Any, reading: Reading, form: str | None) -> str:
    if type(value) is not bool and value is not None:
        raise _NeedsConversion
    return "" if value is None else "true" if value else "false"


def _day(value: Any, reading: Reading, form: str | None) -> float:
    if value is None:
        return math.nan
    if form is not None:
        return dates.days(_parsed(value, reading, form))
    if type(value) is not str or value in reading.missing or not _ISO_DATE.fullmatch(value):
        raise _NeedsConversion
    try:
        return dates.days(date.fromisoformat(value))
    except ValueError:
        raise _NeedsConversion from None


def _moment(value: Any, reading: Reading, form: str | None) -> float:
    return math.nan if value is None else dates.seconds(_parsed(value, reading, form))


def _parsed(value: Any, reading: Reading, form: str | None) -> datetime:
    if type(value) is str and value.isascii() and value.isprintable() and not reading.missing_numbers:
        found = dates.parse(value, form) if value.strip() not in reading.missing else None
        if found is not None:
            return found
    raise _NeedsConversion


_READERS: Mapping[DType, tuple[Callable[[Any, Reading, str | None], Any], Any]] = {
    DType.FLOAT: (_number, float),
    DType.INT: (_whole_number, float),
    DType.STRING: (_text, object),
    DType.BOOL: (_truth, object),
    DType.DATE: (_day, float),
    DType.DATETIME: (_moment, float),
}
_DATATYPES: Mapping[DType, frozenset[str]] = {
    DType.FLOAT: NUMBERS,
    DType.INT: NUMBERS,
    DType.DATE: NUMBERS,
    DType.DATETIME: NUMBERS,
    DType.STRING: frozenset({"BYTES"}),
    DType.BOOL: frozenset({"BOOL", "BYTES"}),
}
