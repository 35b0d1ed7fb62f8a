"""Gate: a metric within bounds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult
from when_ml_pipeline_meets_hydra.ml.artifacts import DIRECTIONS

Metric = Annotated[str, Field(min_length=1, description="r2, mae, rmse; accuracy, f1_macro, log_loss, roc_auc")]
# All others are better the larger they are.
LESS_IS_BETTER = frozenset(name for name, direction in DIRECTIONS.items() if direction == "minimize")


@frozen
class MetricBound:
    """Passes if a metric of the predictions is at least ``min`` and at most ``max``."""

    metric: Metric
    min: Annotated[float | None, Field(description="Smallest value that passes")] = None
    max: Annotated[float | None, Field(description="Largest value that passes")] = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> MetricBound:
        if self.min is None and self.max is None:
            raise ValueError("a bound is needed: min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min={self.min:g} is more than max={self.max:g}: nothing could pass")
        return self

    def judge(self, candidate: Candidate) -> GateResult:
        """Compare the metric with the bounds."""
        found = candidate.metrics.get(self.metric)
        if found is None:
            return absent(self.metric, candidate)
        if self.min is not None and found < self.min:
            return GateResult(passed=False, why=f"{self.metric} is {found:.4g}, less than {self.min:g}", found=found)
        if self.max is not None and found > self.max:
            return GateResult(passed=False, why=f"{self.metric} is {found:.4g}, more than {self.max:g}", found=found)
        low = "" if self.min is None else f", at least {self.min:g}"
        high = "" if self.max is None else f", at most {self.max:g}"
        return GateResult(passed=True, why=f"{self.metric} is {found:.4g}{low}{high}", found=found)


def absent(metric: str, candidate: Candidate) -> GateResult:
    """The result for a metric that does not exist."""
    return GateResult(passed=False, why=f"there is no metric {metric}; there are {', '.join(candidate.metrics)}")
