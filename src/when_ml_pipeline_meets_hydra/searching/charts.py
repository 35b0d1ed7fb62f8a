"""The charts of a search's page as coordinates, which its template draws in SVG: axes, points and lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from when_ml_pipeline_meets_hydra.searching.space import Dimension, Value

WIDTH, HEIGHT = 360.0, 250.0  # of a chart; a browser scales it
_TOP, _RIGHT, _BOTTOM = 10.0, 12.0, 40.0
_CHARACTER = 6.3  # width of a character of a tick
_TICKS = 5
_NAMES = 12  # options that are all labelled
_LONGEST = 14  # characters of a label
_PARALLEL_HEIGHT, _BETWEEN, _SIDE = 300.0, 150.0, 70.0
_PADDING = 0.04  # of an axis, at both ends

Tick = tuple[float, str]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale that maps numbers, or some names, to places from 0 to 1."""

    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    is_whole: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, dimension: Dimension) -> Axis:
        """Return the axis of all values of a dimension."""
        if dimension.values:
            return cls(names=dimension.values)
        return cls(
            low=float(dimension.low), high=float(dimension.high), is_log=dimension.is_log, is_whole=dimension.is_whole
        )

    def place(self, value: Value) -> float:
        """Return the place of a value; of one outside, the nearest end."""
        if self.names:
            return (self.names.index(str(value)) + 0.5) / len(self.names)
        low, high, x = map(self._scaled, (self.low, self.high, float(value)))
        share = (x - low) / (high - low) if high > low else 0.5
        return _PADDING + (1 - 2 * _PADDING) * min(max(share, 0.0), 1.0)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.is_log else value

    @property
    def ticks(self) -> list[Tick]:
        """The places that have a label."""
        if self.names:
            every = math.ceil(len(self.names) / _NAMES)
            return [(self.place(name), shortened(name)) for name in self.names[::every]]
        marks = [m for m in self._marks() if self.low <= m <= self.high] or [self.low]
        return [(self.place(m), f"{m:.4g}") for m in marks]

    def _marks(self) -> list[float]:
        if self.high <= self.low:
            return [self.low]
        if self.is_log and self.high / self.low >= 8:
            return _powers(self.low, self.high)
        step = _round_step((self.high - self.low) / _TICKS)
        step = max(step, 1.0) if self.is_whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * 0.999)


def _powers(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(math.ceil((last - first) / _TICKS), 1)
    mantissas = (1, 2, 5) if last - first <= 1 else (1, 3) if last - first <= 2 else (1,)
    return [m * 10.0**n for n in range(first, last + 1, every) for m in mantissas]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point of a chart: where, how it looks (``kind`` is a class of the style), and what it says."""

    x: float
    y: float
    kind: str
    text: str
    strength: float = 0.8  # of its colour


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Points, and a line, between two axes."""

    title: str
    x_label: str
    y_label: str
    left: float
    bottom: float
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    dots: Sequence[Dot]
    line: str = ""
    note: str = ""
    is_slanted: bool = False

    width, height, top, right = WIDTH, HEIGHT, _TOP, WIDTH - _RIGHT


class Frame:
    """The two axes of a chart, in the coordinates of the drawing."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        self._left = 24.0 + _CHARACTER * max(len(label) for _, label in y.ticks)
        labels = [label for _, label in x.ticks]
        self._is_slanted = bool(x.names) and sum(map(len, labels)) + 2 * len(labels) > 44
        slant = max(map(len, labels)) * _CHARACTER * 0.6 if self._is_slanted else 0.0
        self._bottom = HEIGHT - _BOTTOM - slant

    def x(self, value: Value, shift: float = 0.0) -> float:
        """Return the coordinate of a value; ``shift`` is a share of the axis."""
        return round(self._left + (self._x.place(value) + shift) * (WIDTH - _RIGHT - self._left), 1)

    def y(self, value: float) -> float:
        """Return the coordinate of a value."""
        return self._y_at(self._y.place(value))

    @property
    def floor(self) -> float:
        """The coordinate just above the horizontal axis."""
        return self._bottom - 4

    def _y_at(self, place: float) -> float:
        return round(self._bottom - place * (self._bottom - _TOP), 1)

    def chart(
        self, title: str, x_label: str, y_label: str, dots: Sequence[Dot], line: str = "", note: str = ""
    ) -> Chart:
        """Return the chart."""
        across = WIDTH - _RIGHT - self._left
        return Chart(
            title=title,
            x_label=x_label,
            y_label=y_label,
            left=self._left,
            bottom=self._bottom,
            x_ticks=[(round(self._left + place * across, 1), label) for place, label in self._x.ticks],
            y_ticks=[(self._y_at(place), label) for place, label in self._y.ticks],
            dots=dots,
            line=line,
            note=note,
            is_slanted=self._is_slanted,
        )


@dataclass(frozen=True, kw_only=True)
class Beam:
    """One axis of parallel coordinates; with a gap if some of the trials have no value on it."""

    x: float
    name: str
    ticks: Sequence[Tick]
    has_gap: bool


@dataclass(frozen=True, kw_only=True)
class Strand:
    """One trial in parallel coordinates, with its rank: 0 of the best quarter to 3."""

    points: str
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Parallel coordinates. ``gap`` is where lines pass the axes of values that are not drawn, if there are any."""

    width: float
    height: float
    top: float
    bottom: float
    beams: Sequence[Beam]
    strands: Sequence[Strand]
    gap: float | None


def parallel(axes: Sequence[tuple[str, Axis]], lines: Iterable[tuple[Sequence[Value | None], str, str]]) -> Parallel:
    """Return parallel coordinates of named axes; each line has a value for each of them, its class and its text."""
    lines = list(lines)
    gaps = [any(values[place] is None for values, _, _ in lines) for place in range(len(axes))]
    top, bottom = 34.0, _PARALLEL_HEIGHT - (44.0 if any(gaps) else 14.0)
    gap = _PARALLEL_HEIGHT - 14.0
    xs = [_SIDE + n * _BETWEEN for n in range(len(axes))]

    def y(axis: Axis, value: Value | None) -> float:
        return gap if value is None else _down(axis.place(value), top, bottom)

    return Parallel(
        width=xs[-1] + _SIDE,
        height=_PARALLEL_HEIGHT,
        top=top,
        bottom=bottom,
        beams=[
            Beam(
                x=x, name=name, ticks=[(_down(place, top, bottom), label) for place, label in a.ticks], has_gap=has_gap
            )
            for x, (name, a), has_gap in zip(xs, axes, gaps, strict=True)
        ],
        strands=[
            Strand(
                points=" ".join(f"{x:g},{y(a, v):g}" for x, (_, a), v in zip(xs, axes, values, strict=True)),
                kind=kind,
                text=text,
            )
            for values, kind, text in lines
        ],
        gap=gap if any(gaps) else None,
    )


def _down(place: float, top: float, bottom: float) -> float:
    return round(bottom - place * (bottom - top), 1)


def shortened(text: str, most: int = _LONGEST) -> str:
    """Return a text of at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
