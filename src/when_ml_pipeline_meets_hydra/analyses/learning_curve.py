"""Learning curve of the training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.analyses.drawing import COLOURS, picture
from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding
from when_ml_pipeline_meets_hydra.contracts import Progress, frozen

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@frozen
class LearningCurve:
    """The loss after each epoch or tree, as recorded by the training."""

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """The curve; None if the training has no steps."""
        file = case.modeling.path / "history.json"
        if not file.exists():
            return None
        history = json.loads(file.read_text(encoding="utf-8"))
        losses = history["losses"]
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in losses.items())
        count = len(next(iter(losses.values())))
        return Finding(
            title="Learning curve",
            text=f"The loss that training made small, after each of {count:,} {history['step']}s. Where the loss on "
            "other rows rises while that on the training rows still falls, the model overfits.",
            numbers=history,
            pictures=[
                picture(f"Loss after each {history['step']}; in the end {last}.", lambda axes: _draw(axes, history))
            ],
        )


def _draw(axes: Axes, history: Any) -> None:
    for (name, values), colour in zip(history["losses"].items(), COLOURS, strict=False):
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.6, label=name)
    if best := history.get("best"):
        axes.axvline(best, linestyle="--", color="#8a8f98", linewidth=1, label=f"kept: {best}")
    axes.set_xlabel(history["step"])
    axes.set_ylabel("loss")
    axes.legend(loc="upper right")
