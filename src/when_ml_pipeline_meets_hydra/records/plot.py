"""Plot a comparison: a metric against each swept key, one panel per key."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from statistics import median
from textwrap import shorten
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from when_ml_pipeline_meets_hydra.records.compare import Combination, Comparison, format_value

# Okabe and Ito, Color Universal Design (2008): distinguishable with colour blindness.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
_MARKERS = "osD^vPX*"
_WIDTH, _HEIGHT, _ACROSS = 4.6, 3.6, 3  # size of a panel in inches; panels per row
_TICKS = 8  # maximum number of values that are all labelled
_NAMES = 40  # maximum number of labelled options
_LONG = 18  # characters of a label

_LOOK: Any = {
    "svg.hashsalt": "when_ml_pipeline_meets_hydra",  # reproducible files
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "font.size": 9,
    "text.parse_math": False,
}


def draw(comparison: Comparison, metric: str, kind: str) -> bytes:
    """Plot a metric (full name, ``modeling.r2``) against every swept key, as ``png`` (150 dpi) or ``svg``.

    Numeric keys have a linear axis, or a logarithmic one if their values spread more evenly on it, and a line through
    the medians. Other keys have a box plot and a point per combination; the first of them determines the colours.
    """
    measured = (row for row in comparison.rows if metric in row.metrics)
    rows = sorted(measured, key=lambda row: (row.run, row.jobs))  # options in the order of the sweep
    keys = comparison.keys
    across = min(len(keys), _ACROSS)
    down = math.ceil(len(keys) / across)
    with rc_context(_LOOK):
        figure = Figure(figsize=(max(across * _WIDTH, 6), down * _HEIGHT + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        coloured = next((k for k in keys if not _is_number(rows, k) and _distinct(rows, k) <= len(_COLOURS)), None)
        groups = _groups(rows, coloured)
        for panel, key in zip(axes, keys, strict=False):
            (_numbers if _is_number(rows, key) else _categories)(panel, key, metric, groups)
            panel.set_xlabel(key)
        for place, panel in enumerate(axes):
            panel.set_ylabel(metric if place % across == 0 else "")
            panel.set_visible(place < len(keys))
        if coloured and len(keys) > 1:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, title=coloured, loc="outside right upper", frameon=False)
        figure.suptitle(_title(comparison, metric, len(rows)), fontsize=10)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _title(comparison: Comparison, metric: str, count: int) -> str:
    runs = list(dict.fromkeys(row.run for row in comparison.rows))
    missing = len(comparison.rows) - count
    what = f"{metric} of {count} combinations" + (f" ({missing} more have none)" if missing else "")
    return f"{what}, {f'run {runs[0]}' if len(runs) == 1 else f'{len(runs)} runs'}"


def _groups(rows: Sequence[Combination], key: str | None) -> Mapping[str, Sequence[Combination]]:
    if key is None:
        return {"": rows}
    names = dict.fromkeys(format_value(row.values.get(key)) for row in rows)
    return {name: [r for r in rows if format_value(r.values.get(key)) == name] for name in names}


def _numbers(panel: Axes, key: str, metric: str, groups: Mapping[str, Sequence[Combination]]) -> None:
    for place, (name, rows) in enumerate(groups.items()):
        points = sorted((float(row.values[key]), row.metrics[metric]) for row in rows)
        x, y = [p[0] for p in points], [p[1] for p in points]
        colour, marker = _COLOURS[place], _MARKERS[place]
        panel.scatter(x, y, s=_size(rows), color=colour, marker=marker, alpha=0.75, linewidths=0, label=_label(name))
        middle = sorted({v: median(b for a, b in points if a == v) for v in x}.items())
        if 1 < len(middle) <= len(_COLOURS) * 4:
            panel.plot(*zip(*middle, strict=True), color=colour, linewidth=1, alpha=0.6)
    values = sorted({float(row.values[key]) for rows in groups.values() for row in rows})
    if _is_logarithmic(values):
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
    if len(values) <= _TICKS and _lie_apart(values, logarithmic=_is_logarithmic(values)):
        panel.set_xticks(values, [f"{v:.4g}" for v in values])
        panel.set_xticks([], minor=True)


def _categories(panel: Axes, key: str, metric: str, groups: Mapping[str, Sequence[Combination]]) -> None:
    everything = sorted((row for rows in groups.values() for row in rows), key=lambda row: (row.run, row.jobs))
    names = list(dict.fromkeys(format_value(row.values.get(key)) for row in everything))
    boxes = [[r.metrics[metric] for r in everything if format_value(r.values.get(key)) == name] for name in names]
    panel.boxplot(
        boxes,
        positions=range(len(names)),
        widths=0.5,
        showfliers=False,
        boxprops={"color": "#999999"},
        whiskerprops={"color": "#999999"},
        capprops={"color": "#999999"},
        medianprops={"color": "#444444"},
    )
    spread = Random(0)  # reproducible
    for place, (label, rows) in enumerate(groups.items()):
        x = [names.index(format_value(r.values.get(key))) + spread.uniform(-0.15, 0.15) for r in rows]
        y = [r.metrics[metric] for r in rows]
        colour, marker = _COLOURS[place], _MARKERS[place]
        panel.scatter(
            x, y, s=_size(rows), color=colour, marker=marker, alpha=0.75, linewidths=0, label=_label(label), zorder=3
        )
    _name_categories(panel, [_label(name) for name in names])


def _name_categories(panel: Axes, names: Sequence[str]) -> None:
    """Set labels that do not overlap: horizontal, slanted or vertical, and at most ``_NAMES``."""
    few, short = len(names) <= 12, sum(map(len, names)) + 2 * len(names) <= 44
    places = range(0, len(names), math.ceil(len(names) / _NAMES))
    angle = 0 if short else 40 if few else 90
    panel.set_xticks(places, [names[p] for p in places], rotation=angle, fontsize=9 if few else 7)
    for text in panel.get_xticklabels() if angle == 40 else ():
        text.set_horizontalalignment("right")
        text.set_rotation_mode("anchor")


def _is_number(rows: Sequence[Combination], key: str) -> bool:
    values = [row.values.get(key) for row in rows]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _distinct(rows: Sequence[Combination], key: str) -> int:
    return len({format_value(row.values.get(key)) for row in rows})


def _is_logarithmic(values: Sequence[float]) -> bool:
    """Return whether the values span a power of ten and spread more evenly on a logarithmic axis."""
    if values[0] <= 0 or values[-1] / values[0] < 10 or len(values) < 3:
        return False
    return _evenness([math.log(v) for v in values]) >= _evenness(values)


def _evenness(values: Sequence[float]) -> float:
    """Return the smallest distance between neighbours, relative to the range; larger is more even."""
    return min(b - a for a, b in pairwise(values)) / (values[-1] - values[0])


def _lie_apart(values: Sequence[float], *, logarithmic: bool) -> bool:
    """Return whether labels at the values do not overlap."""
    placed = [math.log(v) for v in values] if logarithmic else list(values)
    return len(values) < 2 or _evenness(placed) > max(len(f"{v:.4g}") for v in values) * 0.022


def _size(rows: Sequence[Any]) -> float:
    return 26 if len(rows) < 100 else 10


def _label(name: str) -> str:
    if " " in name:
        return shorten(name, _LONG, placeholder="…")
    return name if len(name) <= _LONG else f"{name[: _LONG - 1]}…"
