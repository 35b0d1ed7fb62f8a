"""Parts of dates and timestamps as numbers: for columns of a table, and in an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType

DAY, HOUR = 86_400.0, 3_600.0  # seconds


class Part(StrEnum):
    """A number made of a column: its value as a number, or the month (1 to 12), weekday (Monday is 1) or hour of it."""

    VALUE = "value"
    MONTH = "month"
    WEEKDAY = "weekday"
    HOUR = "hour"


def parts(dtype: DType) -> tuple[Part, ...]:
    """Return the parts that a column of a type has."""
    if not dtype.is_time:
        return (Part.VALUE,)
    return tuple(Part) if dtype is DType.DATETIME else (Part.VALUE, Part.MONTH, Part.WEEKDAY)


def part_of(name: str, part: Part) -> pl.Expr:
    """Return a part of a column of dates or timestamps as Float64."""
    when = pl.col(name).dt
    found = {Part.MONTH: when.month, Part.WEEKDAY: when.weekday, Part.HOUR: when.hour}[part]()
    return found.cast(pl.Float64)


Node = Callable[..., str]
Constant = Callable[[float], str]


def in_graph(node: Node, constant: Constant, name: str, dtype: DType, part: Part) -> str:
    """Add nodes that compute a part of an input, a number as in ``DType``, and return their output.

    ``node`` adds an operator with its inputs, ``constant`` a number; each returns a name.
    """
    if part is Part.VALUE:
        return name

    def floor_div(x: str, by: float) -> str:
        return node("Floor", node("Div", x, constant(by)))

    def remainder(x: str, by: float) -> str:
        return node("Sub", x, node("Mul", floor_div(x, by), constant(by)))

    seconds = node("Floor", name) if dtype is DType.DATETIME else ""
    if part is Part.HOUR:
        return floor_div(remainder(seconds, DAY), HOUR)
    days = floor_div(seconds, DAY) if seconds else name
    if part is Part.WEEKDAY:  # 1970-01-01 was a Thursday
        return node("Add", remainder(node("Add", days, constant(3)), 7), constant(1))
    return _month(node, constant, floor_div, remainder, days)


def _month(
    node: Node,
    constant: Constant,
    floor_div: Callable[[str, float], str],
    remainder: Callable[[str, float], str],
    days: str,
) -> str:
    """The month of days since 1970-01-01: Howard Hinnant, "chrono-compatible low-level date algorithms", 2021."""
    day_of_era = remainder(node("Add", days, constant(719_468)), 146_097)
    leaps = node("Sub", floor_div(day_of_era, 1_460), floor_div(day_of_era, 36_524))
    leaps = node("Add", leaps, floor_div(day_of_era, 146_096))
    year_of_era = floor_div(node("Sub", day_of_era, leaps), 365)
    before = node("Mul", year_of_era, constant(365))
    before = node("Add", before, node("Sub", floor_div(year_of_era, 4), floor_div(year_of_era, 100)))
    day_of_year = node("Sub", day_of_era, before)  # from the first of March
    from_march = floor_div(node("Add", node("Mul", day_of_year, constant(5)), constant(2)), 153)
    return node("Add", remainder(node("Add", from_march, constant(2)), 12), constant(1))
