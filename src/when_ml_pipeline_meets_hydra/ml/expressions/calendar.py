"""Parts of dates and timestamps as numbers: for columns of a table, and in an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType

DAY, HOUR, MINUTE = 86_400.0, 3_600.0, 60.0  # seconds
# The parts that an expression can extract; those of the clock are of timestamps alone.
CLOCK = ("hour", "minute", "second")
PARTS = ("year", "quarter", "month", "week", "day", "dow", "isodow", "doy", *CLOCK, "epoch")


class Part(StrEnum):
    """A feature of a column: its value as a number, or the month (1 to 12), weekday (Monday is 1) or hour of it."""

    VALUE = "value"
    MONTH = "month"
    WEEKDAY = "weekday"
    HOUR = "hour"


def parts(dtype: DType) -> tuple[Part, ...]:
    """Return the features that a column of a type has."""
    if not dtype.is_time:
        return (Part.VALUE,)
    return tuple(Part) if dtype is DType.DATETIME else (Part.VALUE, Part.MONTH, Part.WEEKDAY)


def number(name: str, dtype: DType, part: Part = Part.VALUE) -> pl.Expr:
    """Return a column as Float64: dates as days, datetimes as seconds since 1970-01-01, or a part of these."""
    if part is not Part.VALUE:
        return part_of(pl.col(name), part)
    if dtype is DType.DATETIME:
        return pl.col(name).to_physical().cast(pl.Float64) / 1e6  # microseconds
    days = pl.col(name).to_physical() if dtype is DType.DATE else pl.col(name)
    return days.cast(pl.Float64)


def part_of(value: pl.Expr, part: str) -> pl.Expr:
    """Return a part, but ``epoch``, of dates or timestamps as Float64."""
    when = value.dt
    found = {
        "year": when.year,
        "quarter": when.quarter,
        "month": when.month,
        "week": when.week,
        "day": when.day,
        "isodow": when.weekday,
        "weekday": when.weekday,
        "dow": lambda: when.weekday() % 7,
        "doy": when.ordinal_day,
        "hour": when.hour,
        "minute": when.minute,
        "second": when.second,
    }[part]()
    return found.cast(pl.Float64)


def part_of_number(value: pl.Expr, dtype: DType, part: str) -> pl.Expr:
    """Return a part of dates or timestamps that are given as numbers, see ``DType``."""
    if part == "epoch":
        return value * DAY if dtype is DType.DATE else value
    whole = value.floor().cast(pl.Int64)
    when = (
        (whole * 1_000_000).cast(pl.Datetime("us")) if dtype is DType.DATETIME else whole.cast(pl.Int32).cast(pl.Date)
    )
    return part_of(when, part)


Operator = Callable[..., str]
Constant = Callable[[float], str]


def in_graph(node: Operator, constant: Constant, name: str, dtype: DType, part: str) -> str:
    """Add nodes that compute a part of an input, a number as in ``DType``, and return their output.

    ``node`` adds an operator with its inputs, ``constant`` a number; each returns a name.
    """
    return name if part == Part.VALUE else _Calendar(node, constant).part(name, dtype, part)


@dataclass(frozen=True)
class _Calendar:
    node: Operator
    constant: Constant

    def part(self, name: str, dtype: DType, part: str) -> str:
        if part == "epoch":
            return self._times(name, DAY) if dtype is DType.DATE else name
        seconds = self.node("Floor", name) if dtype is DType.DATETIME else ""
        if part in CLOCK:
            return self._clock(self._remainder(seconds, DAY), part)
        days = self._quotient(seconds, DAY) if seconds else name
        if part in ("isodow", "weekday"):
            return self._weekday(days)
        if part == "dow":  # 1970-01-01 was a Thursday
            return self._remainder(self._plus(days, 4), 7)
        if part == "week":  # that of its Thursday
            thursday = self._plus(self.node("Sub", days, self._weekday(days)), 4)
            return self._plus(self._quotient(self._plus(self._day_of_year(thursday), -1), 7), 1)
        if part == "doy":
            return self._day_of_year(days)
        year, month, day = self._civil(days)
        quarter = {"quarter": lambda: self._plus(self._quotient(self._plus(month, -1), 3), 1)}
        return quarter[part]() if part in quarter else {"year": year, "month": month, "day": day}[part]

    def _clock(self, seconds: str, part: str) -> str:
        if part == "hour":
            return self._quotient(seconds, HOUR)
        if part == "minute":
            return self._quotient(self._remainder(seconds, HOUR), MINUTE)
        return self._remainder(seconds, MINUTE)

    def _weekday(self, days: str) -> str:
        return self._plus(self._remainder(self._plus(days, 3), 7), 1)

    def _day_of_year(self, days: str) -> str:
        """The days since the last day of the year before, which is as many years of the calendar after year 0."""
        before = self._plus(self._civil(days)[0], -1)
        last = self.node("Add", self._times(before, 365), self._quotient(before, 4))
        last = self.node("Add", self.node("Sub", last, self._quotient(before, 100)), self._quotient(before, 400))
        return self._plus(self.node("Sub", days, self._plus(last, -719_162)), 1)

    def _civil(self, days: str) -> tuple[str, str, str]:
        """Year, month and day of days since 1970-01-01.

        Howard Hinnant, "chrono-compatible low-level date algorithms", 2021.
        """
        since = self._plus(days, 719_468)
        day_of_era = self._remainder(since, 146_097)
        leaps = self.node("Sub", self._quotient(day_of_era, 1_460), self._quotient(day_of_era, 36_524))
        leaps = self.node("Add", leaps, self._quotient(day_of_era, 146_096))
        year_of_era = self._quotient(self.node("Sub", day_of_era, leaps), 365)
        before = self.node("Sub", self._quotient(year_of_era, 4), self._quotient(year_of_era, 100))
        before = self.node("Add", self._times(year_of_era, 365), before)
        day_of_year = self.node("Sub", day_of_era, before)  # from the first of March
        from_march = self._quotient(self._plus(self._times(day_of_year, 5), 2), 153)
        month = self._plus(self._remainder(self._plus(from_march, 2), 12), 1)
        day = self.node("Sub", day_of_year, self._quotient(self._plus(self._times(from_march, 153), 2), 5))
        year = self.node("Add", year_of_era, self._times(self._quotient(since, 146_097), 400))
        return self.node("Add", year, self._quotient(from_march, 10)), month, self._plus(day, 1)

    def _quotient(self, x: str, by: float) -> str:
        return self.node("Floor", self.node("Div", x, self.constant(by)))

    def _remainder(self, x: str, by: float) -> str:
        return self.node("Sub", x, self.node("Mul", self._quotient(x, by), self.constant(by)))

    def _plus(self, x: str, number: float) -> str:
        return self.node("Add", x, self.constant(number))

    def _times(self, x: str, number: float) -> str:
        return self.node("Mul", x, self.constant(number))
