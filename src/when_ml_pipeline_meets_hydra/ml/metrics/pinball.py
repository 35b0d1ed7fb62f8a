"""The pinball loss of a quantile, whatever the model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Direction, frozen

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.metrics.interface import ScoredRows


@frozen
class Pinball:
    """The pinball loss of predicted numbers (Koenker and Bassett, "Regression quantiles", 1978)."""

    quantile: Annotated[float, Field(gt=0, lt=1, description="The quantile that is to be predicted")]

    @property
    def direction(self) -> Direction:
        """The smaller, the better."""
        return "minimize"

    def score(self, rows: ScoredRows) -> float:
        """Return the loss, in units of the target; NaN for classes."""
        from when_ml_pipeline_meets_hydra.ml.metrics.scores import pinball

        if rows.classes:
            return float("nan")
        return pinball(rows.target, rows.predicted, self.quantile, rows.weights)
