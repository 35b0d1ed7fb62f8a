"""Calibration of predicted probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.analyses.drawing import picture
from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding, Table
from when_ml_pipeline_meets_hydra.contracts import Progress, frozen

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@frozen
class Calibration:
    """Predicted probability against observed frequency, in bins of equal width."""

    bins: Annotated[int, Field(ge=2, le=100, description="Number of bins")] = 10

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """The calibration of the second of two classes, or of the predicted class; None for a regression."""
        if case.predicted.probabilities is None:
            return None
        import numpy as np

        probabilities = case.predicted.probabilities
        two = len(case.classes) == 2
        predicted = probabilities[:, 1] if two else probabilities.max(axis=1)
        true = (case.target == (1 if two else case.predicted.values)).astype(float)
        place = np.minimum((predicted * self.bins).astype(int), self.bins - 1)
        bins = [
            {
                "from": k / self.bins,
                "to": (k + 1) / self.bins,
                "rows": int(inside.sum()),
                "predicted": float(predicted[inside].mean()),
                "true": float(true[inside].mean()),
            }
            for k in range(self.bins)
            if (inside := place == k).any()
        ]
        error = sum(b["rows"] * abs(b["predicted"] - b["true"]) for b in bins) / len(predicted)
        brier = float(((probabilities - np.eye(len(case.classes))[case.target]) ** 2).sum(axis=1).mean())
        what = f"the probability of {case.classes[1]}" if two else "the probability of the predicted class"
        alt = f"Calibration of {what}: it is off by {error:.3f} on average."
        return Finding(
            title="Calibration",
            text=f"Rows in bins by {what}, against the observed frequency. On the dashed line "
            "probabilities are right; above it they are too small. Large dots stand for many rows.",
            numbers={"of": what, "bins": bins, "expected_calibration_error": float(error), "brier_score": brier},
            pictures=[picture(alt, lambda axes: _draw(axes, bins, what))],
            table=Table(
                columns=("measure", "value"),
                rows=[("mean distance from the line", f"{error:.4f}"), ("Brier score (0 is best)", f"{brier:.4f}")],
            ),
        )


def _draw(axes: Axes, bins: list[dict[str, Any]], what: str) -> None:
    most = max(b["rows"] for b in bins)
    x, y = [b["predicted"] for b in bins], [b["true"] for b in bins]
    axes.plot([0, 1], [0, 1], linestyle="--", color="#8a8f98", linewidth=1)
    axes.plot(x, y, color="#0072B2", linewidth=1.2, alpha=0.6)
    axes.scatter(x, y, s=[18 + 130 * b["rows"] / most for b in bins], color="#0072B2", zorder=3)
    axes.set_xlabel(what)
    axes.set_ylabel("part that comes true")
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.08)
