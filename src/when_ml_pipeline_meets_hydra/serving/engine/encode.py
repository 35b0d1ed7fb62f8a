"""Encode raw rows, as JSON objects or tensors of the Open Inference Protocol, as inputs of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.errors import PipelineError, did_you_mean
from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
EPOCH = date(1970, 1, 1).toordinal()
MANY = 16  # from this many values on, numpy's functions are faster than Python's
NUMBERS = frozenset({"FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8"})


class BadRow(PipelineError):
    """A value in a request that does not fit its column."""


def feeds_from_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> Feeds:
    """Return tensors [N, 1] by column from N rows; a key that is missing or null is a missing value.

    Raises:
        BadRow: a row has an unknown key, or a value of another type than its column's.
    """
    names = {column.name for column in columns}
    if not set().union(*rows) <= names:
        number, key = next((n, min(row.keys() - names)) for n, row in enumerate(rows) if row.keys() - names)
        raise BadRow(f"rows[{number}].{key}: there is no such input. {did_you_mean(key, names)}")
    return {column.name: _tensor(column, [row.get(column.name) for row in rows], "rows[{}].{}") for column in columns}


def feeds_from_tensors(columns: Sequence[Column], tensors: Mapping[str, tuple[str, Sequence[Any] | Array]]) -> Feeds:
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
    return {column.name: _tensor_from(column, *tensors[column.name]) for column in columns}


def _tensor_from(column: Column, datatype: str, data: Sequence[Any] | Array) -> Array:
    allowed = _DATATYPES[column.dtype]
    if datatype not in allowed:
        raise BadRow(f"inputs.{column.name}: the datatype is {datatype}, allowed: {', '.join(sorted(allowed))}")
    # In the protocol, a date or datetime is a number, and a boolean may be a string.
    as_number = column.dtype.is_time
    as_text = column.dtype is DType.BOOL and datatype == "BYTES"
    kind = DType.FLOAT if as_number else DType.STRING if as_text else column.dtype
    return _tensor(Column(name=column.name, dtype=kind), data, "inputs[{1}].data[{0}]")


def _tensor(column: Column, values: Sequence[Any] | Array, place: str) -> Array:
    if len(values) >= MANY and (tensor := _convert_all(column.dtype, values)) is not None:
        return tensor
    if isinstance(values, np.ndarray):
        values = values.tolist()
    convert, dtype = _CONVERTERS[column.dtype]
    converted = []
    for number, value in enumerate(values):
        try:
            converted.append(convert(value))
        except ValueError as wrong:
            shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:40] + "…"
            raise BadRow(f"{place.format(number, column.name)}: {shown} is not {wrong}") from None
    return np.array(converted, dtype=dtype).reshape(-1, 1)


def _convert_all(dtype: DType, values: Sequence[Any] | Array) -> Array | None:
    """Convert many valid values at once; return None if one of them is invalid or needs conversion."""
    kinds = {float} if isinstance(values, np.ndarray) else set(map(type, values))
    if dtype in (DType.FLOAT, DType.INT) and kinds <= {float, int, type(None)}:
        try:
            numbers = np.array(values, dtype=float)  # None becomes NaN
        except OverflowError:
            return None
        whole = dtype is DType.FLOAT or np.array_equal(numbers, np.trunc(numbers), equal_nan=True)
        return numbers.reshape(-1, 1) if whole and not np.isinf(numbers).any() else None
    if dtype is DType.STRING and kinds == {str}:
        try:
            "".join(values).encode()
        except UnicodeEncodeError:
            return None
        return np.array(values, dtype=object).reshape(-1, 1)
    return None


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (float, int):
        raise ValueError("a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ValueError("a finite number")
    return number


def _whole_number(value: Any) -> float:
    number = _number(value)
    if not math.isnan(number) and not number.is_integer():
        raise ValueError("a whole number")
    return number


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("a string of valid Unicode") from None
    return value


def _truth(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return "true" if value else "false"


def _day(value: Any) -> float:
    if value is None:
        return math.nan
    try:
        return float(date.fromisoformat(value).toordinal() - EPOCH)
    except (TypeError, ValueError):
        raise ValueError("a date like 2026-01-31") from None


def _moment(value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, str) or (found := dates.parse(value, None)) is None:
        raise ValueError("a date and time like 2026-01-31T13:45:00")
    return dates.seconds(found)


_CONVERTERS: Mapping[DType, tuple[Callable[[Any], Any], Any]] = {
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
