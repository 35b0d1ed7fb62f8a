"""The style of all plots of a report: readable on a phone, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.analyses.interface import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito, Color Universal Design (2008): distinguishable with colour blindness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7a7a7a", "#b0a000")
QUIET = "#8a8f98"
MOST_LINES = len(COLOURS)
WIDTH, HEIGHT = 4.4, 3.5  # inches

LOOK: Any = {
    "svg.hashsalt": "when_ml_pipeline_meets_hydra",
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6470",
    "axes.labelcolor": "#2b3340",
    "xtick.color": "#2b3340",
    "ytick.color": "#2b3340",
    "axes.grid": True,
    "grid.color": "#e8eaee",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "font.size": 11,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "text.parse_math": False,
}


def picture(alt: str, draw: Callable[[Axes], None], *, height: float = HEIGHT) -> Picture:
    """Draw a picture with one pair of axes; ``height`` in inches."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(svg=file.getvalue(), alt=alt)


def short(name: str, most: int = 16) -> str:
    """A name cut to ``most`` characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
