"""Gate: a metric within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult, Rows

Metric = Annotated[
    str,
    Field(
        min_length=1,
        description="r2, mae, rmse, mape, pinball; accuracy, balanced_accuracy, f1_macro, log_loss, roc_auc, "
        "average_precision; or one of metrics.own",
    ),
]


@frozen
class MetricBound:
    """Passes if a metric is at least ``min`` and at most ``max``: on the held-out rows, or on the predicted ones."""

    metric: Metric
    rows: Annotated[
        Rows, Field(description="held_out: of the training data; predicted: those of the stage prediction")
    ] = Rows.HELD_OUT
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
        metrics, rows = candidate.metrics(self.rows)
        found = metrics.get(self.metric)
        if found is None:
            there = f"there are {', '.join(metrics)}" if metrics else "no target is known"
            return GateResult(passed=False, why=f"there is no metric {self.metric} on {rows}; {there}", rows=rows)
        passed, bounds = True, "".join(self._bounds())
        if self.min is not None and found < self.min:
            passed, bounds = False, f", less than {self.min:g}"
        elif self.max is not None and found > self.max:
            passed, bounds = False, f", more than {self.max:g}"
        return GateResult(passed=passed, why=f"{self.metric} is {found:.4g} on {rows}{bounds}", found=found, rows=rows)

    def _bounds(self) -> Iterator[str]:
        if self.min is not None:
            yield f", at least {self.min:g}"
        if self.max is not None:
            yield f", at most {self.max:g}"
