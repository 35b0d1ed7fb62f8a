"""Encode raw rows, as JSON objects or tensors of the Open Inference Protocol, as inputs of a graph.

Values are read as those of the training data were. What needs no conversion takes a short way here; everything else
goes through ``ml.datasets.values``, as in training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import numpy as np

from when_ml_pipeline_meets_hydra.errors import PipelineError, did_you_mean
from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Reading

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
T = TypeVar("T")
MOST_SHOWN = 10  # wrong values in a response
MANY = 16  # from this many values on, numpy's functions are faster than Python's
NUMBERS = frozenset({"FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8"})
# What Polars strips from a text: Unicode's white space, to which str.strip adds four control characters.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = 2.0**63  # whole numbers are below


class BadRow(PipelineError):
    """Values in a request that do not fit their columns: ``messages``, and the number of further ones."""

    def __init__(self, *messages: str, more: int = 0) -> None:
        super().__init__(*messages)
        self.messages, self.more = messages, more

    def __str__(self) -> str:
        return "; ".join(self.messages) + (f"; and {self.more:,} more" if self.more else "")


class Refusals:
    """Gathers what is wrong in a request, so that it is reported at once: the first messages, and how many more."""

    def __init__(self) -> None:
        self._messages: list[str] = []
        self._more = 0

    def add(self, *messages: str, more: int = 0) -> None:
        """Add messages, and a number of further ones."""
        shown = messages[: MOST_SHOWN - len(self._messages)]
        self._messages += shown
        self._more += len(messages) - len(shown) + more

    def during(self, make: Callable[[], T]) -> T | None:
        """Return what ``make`` returns; None if it refuses, and its messages are added."""
        try:
            return make()
        except BadRow as refused:
            self.add(*refused.messages, more=refused.more)
            return None

    def raise_any(self) -> None:
        """Raise ``BadRow`` if anything was added."""
        if self._messages:
            raise BadRow(*self._messages, more=self._more)


class _NeedsConversion(Exception):
    """A value that is not of its column's type as it is."""


def feeds_from_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], reading: Reading) -> Feeds:
    """Return tensors [N, 1] by column from N rows; a key that is missing or null is a missing value.

    Raises:
        BadRow: rows have unknown keys, or values that cannot be read as their columns' types.
    """
    names = {column.name for column in columns}
    wrong = Refusals()
    if not set().union(*rows) <= names:
        first = {key: number for number, row in reversed([*enumerate(rows)]) for key in row.keys() - names}
        shown = sorted(first.items(), key=lambda found: (found[1], found[0]))[:MOST_SHOWN]
        unknown = (f"rows[{n}].{key}: there is no such input. {did_you_mean(key, names)}" for key, n in shown)
        wrong.add(*unknown, more=len(first) - len(shown))
    feeds = {}
    for column in columns:
        values = [row.get(column.name) for row in rows]
        feeds[column.name] = wrong.during(partial(_tensor, column, values, reading, "rows[{}].{}"))
    return _whole(feeds, wrong)


def _whole(feeds: Mapping[str, Array | None], wrong: Refusals) -> Feeds:
    """Return the tensors. Raises ``BadRow`` if something is wrong, as it is if one is missing."""
    wrong.raise_any()
    return {name: tensor for name, tensor in feeds.items() if tensor is not None}


def feeds_from_tensors(
    columns: Sequence[Column], tensors: Mapping[str, tuple[str, Sequence[Any] | Array]], reading: Reading
) -> Feeds:
    """Return tensors [N, 1] by column from the flat data of a protocol's request: name → datatype and N values.

    Numbers are a list, or an array of 64-bit floats in which NaN is a missing value.

    Raises:
        BadRow: inputs are missing, unknown, of a wrong datatype or length, or hold bad values.
    """
    names = {column.name for column in columns}
    wrong = Refusals()
    unfit = sorted(tensors.keys() ^ names)
    for name in unfit[:MOST_SHOWN]:
        what = "is missing" if name in names else f"there is no such input. {did_you_mean(name, names)}"
        wrong.add(f"inputs.{name}: {what}")
    wrong.add(more=len(unfit[MOST_SHOWN:]))
    if len({len(data) for _, data in tensors.values()}) > 1:
        wrong.add("inputs: all of them need the same number of rows")
    given = [column for column in columns if column.name in tensors]
    feeds = {c.name: wrong.during(partial(_tensor_from, c, *tensors[c.name], reading)) for c in given}
    return _whole(feeds, wrong)


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

    def refusal(numbers: Sequence[int], wanted: str) -> BadRow:
        shown = [(n, repr(values[n])) for n in numbers[:MOST_SHOWN]]
        shown = [(n, text if len(text) <= 40 else f"{text[:40]}…") for n, text in shown]
        messages = (f"{place.format(n, column.name)}: {text} is not {wanted}" for n, text in shown)
        return BadRow(*messages, more=len(numbers) - len(shown))

    if bad := [n for n, value in enumerate(values) if isinstance(value, str) and not _is_unicode(value)]:
        raise refusal(bad, "a text of valid Unicode")
    made, bad = read(values, column.dtype, reading, column.format)
    if bad:
        raise refusal(bad, expected(column.dtype, column.format))
    found = made.to_list()
    if column.dtype.is_time:
        position: Callable[[Any], float] = dates.days if column.dtype is DType.DATE else dates.seconds
        return [math.nan if time is None else position(time) for time in found]
    if column.dtype is DType.BOOL:
        return ["" if truth is None else str(truth).lower() for truth in found]
    if column.dtype is DType.STRING:
        return [text or "" for text in found]
    if bad := [n for n, value in enumerate(found) if value is not None and not math.isfinite(value)]:
        raise refusal(bad, "a finite number")
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
