"""Plot of drift: the index of each feature, and histograms of the features that drifted most."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from when_ml_pipeline_meets_hydra.analyses.drawing import COLOURS, LOOK, QUIET, short
from when_ml_pipeline_meets_hydra.serving.monitoring.drift import DRIFT, SHIFT, Drift, Feature, Level

MOST_BARS, MOST_PANELS = 20, 5
_OF_LEVEL = {
    Level.STABLE: COLOURS[2],
    Level.SHIFTED: COLOURS[1],
    Level.DRIFTED: COLOURS[5],
    Level.TOO_LITTLE: QUIET,
}


def draw(drift: Drift, kind: str) -> bytes:
    """Draw the plot as ``png`` (150 dots per inch) or ``svg``."""
    shown = (drift.prediction, *drift.features[:MOST_PANELS])
    bars = (drift.prediction, *drift.features[:MOST_BARS])
    height = max(3.0, 0.28 * len(bars) + 1.2)
    with rc_context(LOOK):
        figure = Figure(figsize=(10, height + 2.6 * -(-len(shown) // 3)), layout="constrained")
        FigureCanvasAgg(figure)
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[height, 2.6 * -(-len(shown) // 3)])
        above, below = parts.ravel()
        _indices(above.subplots(), bars)
        panels = below.subplots(-(-len(shown) // 3), 3, squeeze=False).ravel()
        for panel, feature in zip(panels, shown, strict=False):
            _shares(panel, feature)
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        below.legend(handles, labels, loc="outside lower center", ncols=2)
        figure.suptitle(_title(drift), fontsize=12)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _title(drift: Drift) -> str:
    if drift.first is None or drift.last is None:
        return f"{drift.model} version {drift.version}: no requests"
    days = f"{drift.first:%Y-%m-%d} to {drift.last:%Y-%m-%d}"
    return f"{drift.model} version {drift.version}: {drift.rows:,} rows in service, {days}"


def _indices(axes: Axes, features: Sequence[Feature]) -> None:
    places = range(len(features))
    axes.barh(places, [f.psi or 0.0 for f in features], color=[_OF_LEVEL[f.level] for f in features], height=0.7)
    axes.set_yticks(places, [short(f.name, 28) for f in features])
    axes.invert_yaxis()
    axes.set_xlabel("population stability index")
    axes.set_xlim(left=0, right=max(0.3, *(1.05 * (f.psi or 0.0) for f in features)))
    for bound in (SHIFT, DRIFT):
        axes.axvline(bound, color="#5b6470", linewidth=1, linestyle="--")
    levels = [level for level in Level if any(f.level is level for f in features)]
    axes.legend(handles=[Patch(color=_OF_LEVEL[level], label=level.value) for level in levels], loc="lower right")


def _shares(axes: Axes, feature: Feature) -> None:
    both = (feature.training, feature.service)
    counts = zip(*((*one.counts, one.missing) for one in both), strict=True)
    bins = [(short(name, 12), pair) for name, pair in zip(feature.training.names, counts, strict=True) if any(pair)]
    for k, (one, label, colour) in enumerate(zip(both, ("training", "service"), (QUIET, COLOURS[0]), strict=True)):
        parts = [pair[k] / max(1, one.total) for _, pair in bins]
        axes.bar([place + 0.4 * k - 0.2 for place in range(len(bins))], parts, 0.4, color=colour, label=label)
    axes.set_xticks(range(len(bins)), [name for name, _ in bins], rotation=90, fontsize=7)
    axes.set_title(short(feature.name, 28), fontsize=10)
    axes.yaxis.set_major_formatter(lambda part, _: f"{part:.0%}")
