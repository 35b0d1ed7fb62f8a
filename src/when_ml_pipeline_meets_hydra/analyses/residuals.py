"""Residuals of a regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.analyses.drawing import picture, short
from when_ml_pipeline_meets_hydra.analyses.interface import Case, Finding, Table
from when_ml_pipeline_meets_hydra.contracts import Progress, frozen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import Array

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@frozen
class Residuals:
    """Predicted against true numbers, and the histogram of their differences."""

    bins: Annotated[int, Field(ge=2, le=200, description="Bars of the histogram")] = 24
    points: Annotated[int, Field(ge=10, le=100_000, description="Most points of the picture")] = 2000

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """The residuals; None for classes."""
        if case.classes:
            return None
        import numpy as np

        true, predicted = case.target.astype(float), case.predicted.values.astype(float)
        residuals = predicted - true
        counts, edges = np.histogram(residuals, bins=self.bins)
        quantiles = {f"{q:g}": float(v) for q, v in zip(_QUANTILES, np.quantile(residuals, _QUANTILES), strict=True)}
        mean, spread = float(residuals.mean()), float(residuals.std())
        shown = self._some(len(true))
        inside = f"{quantiles['0.05']:.3g} and {quantiles['0.95']:.3g}"
        return Finding(
            title="Residuals",
            text=f"Predicted minus true {case.unit}. On the dashed line a prediction is right; nine of ten rows are "
            f"off by something between {inside}.",
            numbers={
                "mean": mean,
                "standard_deviation": spread,
                "quantiles": quantiles,
                "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
            },
            pictures=[
                picture(
                    f"Predicted against true {case.unit}, {len(shown)} rows along the diagonal.",
                    lambda axes: _scatter(axes, true[shown], predicted[shown], case.unit),
                ),
                picture(
                    f"Histogram of the residuals: mean {mean:.3g}, standard deviation {spread:.3g}.",
                    lambda axes: _histogram(axes, counts, edges, case.unit),
                ),
            ],
            table=Table(
                columns=("residuals", "value"),
                rows=[
                    ("mean", f"{mean:.4g}"),
                    ("standard deviation", f"{spread:.4g}"),
                    *((f"{float(q):.0%} are below", f"{v:.4g}") for q, v in quantiles.items()),
                ],
            ),
        )

    def _some(self, rows: int) -> Array:
        import numpy as np

        return np.sort(np.random.default_rng(0).permutation(rows)[: self.points])


def _scatter(axes: Axes, true: Any, predicted: Any, unit: str) -> None:
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axes.plot([low, high], [low, high], linestyle="--", color="#8a8f98", linewidth=1)
    axes.scatter(true, predicted, s=20 if len(true) < 300 else 8, color="#0072B2", alpha=0.55, linewidths=0)
    axes.set_xlabel(f"true {short(unit, 28)}")
    axes.set_ylabel("predicted")


def _histogram(axes: Axes, counts: Any, edges: Any, unit: str) -> None:
    axes.stairs(counts, edges, fill=True, color="#56B4E9")
    axes.axvline(0, linestyle="--", color="#5b6470", linewidth=1)
    axes.set_xlabel(f"predicted − true {short(unit, 22)}")
    axes.set_ylabel("rows")
