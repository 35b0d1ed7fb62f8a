"""Charts of a comparison as plain numbers, which a template draws as SVG: a scatter plot, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from when_ml_pipeline_meets_hydra.records.compare import Combination, format_value, rounded
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

WIDTH, HEIGHT = 720.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 76.0, 20.0, 16.0, 48.0
_AXES_WIDTH, _AXES_HEIGHT, _AXES_SIDE, _AXES_TOP, _AXES_BOTTOM = 1120.0, 360.0, 90.0, 36.0, 26.0
_SHADES = 5  # of lines, by their metric
_MOST_TICKS, _FEW = 12, 6  # of an axis of texts; values that have a tick each
_WIDE = 100  # the ratio of the largest and the smallest value from which an axis is logarithmic


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Point(NamedTuple):
    """A combination in a scatter plot."""

    x: float
    y: float
    title: str


class Line(NamedTuple):
    """A combination in parallel coordinates; ``shade`` is higher for better metrics."""

    points: str
    shade: int
    title: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where values lie on an axis from 0 to 1: numbers, also logarithmically, or texts side by side."""

    name: str
    places: dict[str, float]
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: Any) -> float | None:
        """Return the place of a value; None if it has none."""
        return self.places.get(format_value(value))


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """A metric against a key."""

    x: str
    y: str
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of parallel coordinates."""

    x: float
    name: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Keys and a metric side by side, with a line for each combination."""

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]


def scale_of(name: str, values: Sequence[Any]) -> Scale:
    """Return the scale of some values."""
    shown = list(dict.fromkeys(format_value(value) for value in values))
    numbers = {format_value(value): float(value) for value in values if _is_number(value)}
    if not numbers or len(numbers) < len(shown):
        places = {text: (number + 0.5) / len(shown) for number, text in enumerate(shown)}
        every = max(math.ceil(len(shown) / _MOST_TICKS), 1)
        return Scale(name=name, places=places, ticks=tuple((places[text], text) for text in shown[::every]))
    low, high = min(numbers.values()), max(numbers.values())
    is_log = low > 0 and high / low >= _WIDE
    of = math.log if is_log else float
    begin, span = of(low), of(high) - of(low)
    places = {text: (of(number) - begin) / span if span else 0.5 for text, number in numbers.items()}
    if len(places) <= _FEW:
        return Scale(name=name, places=places, ticks=tuple((place, text) for text, place in places.items()))
    marks = [part / 4 for part in range(5)] if span else [0.5]
    values_at = [math.exp(begin + mark * span) if is_log else begin + mark * span for mark in marks]
    ticks = tuple((mark, f"{value:.4g}") for mark, value in zip(marks, values_at, strict=True))
    return Scale(name=name, places=places, ticks=ticks)


def scatter(rows: Sequence[Combination], key: str, metric: str, shown: str) -> Scatter:
    """Return the plot of a metric against a key; ``shown`` is the metric's name for people."""
    found = [row for row in rows if key in row.values and _is_number(row.metrics.get(metric))]
    x, y = (
        scale_of(key, [row.values[key] for row in found]),
        scale_of(metric, [row.metrics[metric] for row in found]),
    )
    points = []
    for row in found:
        across, up = x.at(row.values[key]), y.at(row.metrics[metric])
        if across is not None and up is not None:
            title = f"{key} {format_value(rounded(row.values[key]))}, {shown} {row.metrics[metric]:.4g}"
            points.append(Point(_across(across), _up(up), title))
    return Scatter(
        x=key,
        y=shown,
        points=tuple(points),
        x_ticks=tuple(Tick(_across(at), text) for at, text in x.ticks),
        y_ticks=tuple(Tick(_up(at), text) for at, text in y.ticks),
    )


def parallel(
    rows: Sequence[Combination], keys: Sequence[str], metric: str, shown: str, *, is_smaller_better: bool
) -> Parallel:
    """Return parallel coordinates of some keys and a metric."""
    found = [row for row in rows if _is_number(row.metrics.get(metric))]
    scales = [scale_of(key, [row.values[key] for row in found if key in row.values]) for key in keys]
    last = scale_of(shown, [row.metrics[metric] for row in found])
    step = (_AXES_WIDTH - 2 * _AXES_SIDE) / max(len(scales), 1)
    axes = tuple(
        Axis(
            x=_AXES_SIDE + number * step,
            name=scale.name,
            ticks=tuple(Tick(_down(at), text) for at, text in scale.ticks),
        )
        for number, scale in enumerate([*scales, last])
    )
    lines = []
    for row in found:
        places = [scale.at(row.values[scale.name]) if scale.name in row.values else None for scale in scales]
        end = last.at(row.metrics[metric]) or 0.0
        points = [
            f"{axis.x:.1f},{_down(place):.1f}"
            for axis, place in zip(axes, [*places, end], strict=True)
            if place is not None
        ]
        good = 1 - end if is_smaller_better else end
        title = ", ".join(f"{key} {format_value(rounded(row.values[key]))}" for key in keys if key in row.values)
        shade = min(int(good * _SHADES), _SHADES - 1)
        lines.append(Line(" ".join(points), shade, f"{title}: {shown} {row.metrics[metric]:.4g}"))
    return Parallel(axes=axes, lines=tuple(sorted(lines, key=lambda line: line.shade)))


def _across(place: float) -> float:
    return round(_LEFT + place * (WIDTH - _LEFT - _RIGHT), 1)


def _up(place: float) -> float:
    return round(HEIGHT - _BOTTOM - place * (HEIGHT - _TOP - _BOTTOM), 1)


def _down(place: float) -> float:
    return round(_AXES_HEIGHT - _AXES_BOTTOM - place * (_AXES_HEIGHT - _AXES_TOP - _AXES_BOTTOM), 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
