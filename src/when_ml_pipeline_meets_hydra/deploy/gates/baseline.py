"""Gate: better than the naive baseline."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult, Rows
from when_ml_pipeline_meets_hydra.ml.artifacts import Task


@frozen
class BetterThanNaive:
    """Passes if the model is better on the held-out rows than the naive baseline, which uses no feature."""

    metric: Annotated[str | None, Field(description="By which metric; null: rmse, or log_loss for classes")] = None

    def judge(self, candidate: Candidate) -> GateResult:
        """Compare with the baseline of the training."""
        model = candidate.modeling
        metric = self.metric or ("rmse" if model.task is Task.REGRESSION else "log_loss")
        if metric not in model.metrics:
            return GateResult(passed=False, why=f"there is no metric {metric}; there are {', '.join(model.metrics)}")
        if metric not in model.baseline:
            return GateResult(
                passed=False, why=f"{metric} is undefined for the naive baseline", found=model.metrics[metric]
            )
        found, naive = model.metrics[metric], model.baseline[metric]
        passed = found < naive if model.is_minimized(metric) else found > naive
        _, rows = candidate.metrics(Rows.HELD_OUT)
        why = f"{metric} is {found:.4g} on {rows}, that of the naive baseline {naive:.4g}"
        return GateResult(passed=passed, why=why, found=found, rows=rows)
