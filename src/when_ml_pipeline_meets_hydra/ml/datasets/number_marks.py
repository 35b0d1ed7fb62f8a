"""Marks of numbers in texts, such as ``1.234,50``: which settings of a data set would make a column one of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Reading
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.values import MINUS, convert, dtype_of, null_if_missing, number_pattern

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Located


class Marks(NamedTuple):
    """The mark before decimals, and the one between thousands ("": none)."""

    decimal: str
    thousands: str

    def number(self, text: str) -> float | None:
        """Return the number in a text, or None."""
        if _pattern(self).match(text) is None:
            return None
        plain = text.replace(self.thousands, "") if self.thousands else text
        return float(plain.replace(self.decimal, ".").replace(MINUS, "-"))


@cache
def _pattern(marks: Marks) -> re.Pattern[str]:
    return re.compile(number_pattern(*marks))


# The usual ones, the simplest first. French and Swiss numbers have blanks that do not break, and two apostrophes.
_USUAL = (
    *(Marks(".", ""), Marks(",", ""), Marks(".", ","), Marks(",", ".")),
    *(Marks(decimal, thousands) for thousands in "' ’\u00a0\u202f" for decimal in ".,"),
)
# Marks of missing values that are none unless the config says so, in small letters.
_MISSING = frozenset(
    (
        "?",
        "-",
        "--",
        "\u2013",
        "\u2014",
        ".",
        "*",
        "x",
        "n/a",
        "#n/a",
        "n.a.",
        "none",
        "nil",
        "missing",
        "unknown",
        "\\n",
    )
)
_LIKE_A_NUMBER = re.compile(r"[-\u2212+0-9eE.,'’ \u00a0\u202f]+")
_QUOTED = {"'": '"dataset.{key}=\\"\'\\""', ",": "dataset.{key}=','", ".": "dataset.{key}='.'"}


def candidates(sample: Sequence[str], reading: Reading, share: float = 1.0) -> tuple[Marks, ...]:
    """Return the marks with which at least ``share`` of the texts are numbers: of equal ones the simplest."""
    found: dict[tuple[float | None, ...], Marks] = {}
    if not any(map(_LIKE_A_NUMBER.fullmatch, sample[:3])):  # most texts, of many columns
        return ()
    for marks in _USUAL:
        if marks != (reading.decimal, reading.thousands) and any(marks.number(text) is not None for text in sample[:3]):
            numbers = tuple(map(marks.number, sample))
            if sum(number is not None for number in numbers) >= share * len(sample):
                found.setdefault(numbers, marks)
    return tuple(found.values())


def exceptions(sample: Sequence[str], reading: Reading, share: float) -> list[str]:
    """Return the texts among numbers that are none: less than 1 - ``share`` of all, or marks of missing values."""
    number = _pattern(Marks(reading.decimal, reading.thousands)).match
    if not any(map(number, sample[:3])):  # most texts
        return []
    others = [text for text in sample if not number(text)]
    numbers = len(sample) - len(others)
    are_missing = numbers > 1 and all(text.lower() in _MISSING for text in others)
    return others if are_missing or numbers >= share * len(sample) else []


def described(marks: Sequence[Marks]) -> str:
    """Return what numbers with such marks are called."""
    if len(marks) > 1:
        return f"numbers with a {'comma' if any(',' in m for m in marks) else 'point'}"
    ((decimal, thousands),) = marks
    kind = "a decimal comma" if decimal == "," else "" if thousands else "a decimal point"
    return f"numbers with {' and '.join(filter(None, ('thousands' if thousands else '', kind)))}"


def advice(marks: Iterable[Marks], reading: Reading) -> str:
    """Return the overrides, as in a shell, for one of the ``marks``; "" if there are none."""
    return " or ".join(_overrides(choice, reading) for choice in marks)


def _overrides(marks: Marks, reading: Reading) -> str:
    now = {"decimal": reading.decimal, "thousands": reading.thousands}
    changed = {key: mark for key, mark in marks._asdict().items() if mark != now[key]}
    parts = [_QUOTED.get(mark, "\"dataset.{key}='{mark}'\"") for mark in changed.values()]
    return " ".join(part.format(key=key, mark=mark) for part, (key, mark) in zip(parts, changed.items(), strict=True))


class Fitting(NamedTuple):
    """The marks that make all texts of a column numbers; ``spoils``: others do, with which other columns are none."""

    marks: tuple[Marks, ...] = ()
    spoils: bool = False


def fitting(rows: RawRows, columns: Sequence[Located], suggested: Mapping[int, Sequence[Marks]]) -> dict[int, Fitting]:
    """Return, by position, which of the ``suggested`` marks fit, while all ``columns`` of numbers remain numbers.

    None do in data other than CSV files, which have no such keys.
    """
    wanted = {position: marks for position, marks in suggested.items() if marks and rows.texts}
    if not wanted:
        return dict.fromkeys(suggested, Fitting())
    numbers = [w for w in columns if w.column.dtype in (DType.INT, DType.FLOAT) and _is_text(w)]
    others = {w.position: tuple({m for marks in wanted.values() for m in marks}) for w in numbers}
    places = {w.position: w for w in columns}
    counts = {
        (position, choice): _unread(rows, places[position], choice)
        for position, marks in {**others, **wanted}.items()
        for choice in marks
    }
    found = rows.frame.select(count.alias(str(k)) for k, count in enumerate(counts.values()))
    unread = dict(zip(counts, found.collect(engine="streaming").row(0), strict=True))
    spoils = {choice for (position, choice), count in unread.items() if count and position not in wanted}
    numeric = {at: [m for m in wanted.get(at, ()) if not unread[at, m]] for at in suggested}
    return {
        at: Fitting(tuple(m for m in marks if m not in spoils), bool(marks) and spoils.issuperset(marks))
        for at, marks in numeric.items()
    }


def _is_text(where: Located) -> bool:
    return dtype_of(where.physical) is DType.STRING


def _unread(rows: RawRows, where: Located, marks: Marks) -> pl.Expr:
    """The number of values of a column that are no numbers with such marks."""
    reading = replace(rows.reading, decimal=marks.decimal, thousands=marks.thousands)
    text = null_if_missing(pl.nth(where.position), where.physical, reading)
    dtype = DType.INT if where.column.dtype is DType.INT else DType.FLOAT
    return (text.is_not_null() & convert(text, where.physical, dtype, reading).is_null()).sum()


def remedy(rows: RawRows, columns: Sequence[Located], where: Located) -> str:
    """Return the overrides that make the texts of a column numbers; "" if there are none, or if it has other values."""
    if not (rows.texts and _is_text(where)) or where.column.dtype.is_time or where.column.dtype is DType.BOOL:
        return ""
    text = null_if_missing(pl.nth(where.position), where.physical, rows.reading).str.strip_chars().alias("text")
    sample = rows.frame.select(text).head(10_000).collect(engine="streaming")["text"].drop_nulls().unique()
    suggested = {where.position: candidates(sample.sort().head(100).to_list(), rows.reading)}
    return advice(fitting(rows, columns, suggested)[where.position].marks, rows.reading)
