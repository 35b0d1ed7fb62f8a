"""Gate: not worse than the active version."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Chosen, frozen
from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult, Rows
from when_ml_pipeline_meets_hydra.deploy.gates.metric import Metric
from when_ml_pipeline_meets_hydra.serving.formats.versions import ModelName, Status, Version


@frozen
class NotWorseThanDeployed:
    """Passes if the model is no worse on its held-out rows than the cluster's active version was on its own.

    Where no version is active the model passes.
    """

    cluster: Annotated[Cluster, Chosen()]
    model_name: ModelName
    metric: Metric
    tolerance: Annotated[float, Field(ge=0, description="How much worse it may be, in units of the metric")] = 0.0

    def fingerprint(self) -> str:
        """The active version and its metric."""
        active = _active(self.cluster.status(self.model_name))
        return "" if active is None else f"{active.source} {active.metrics.get(self.metric)}"

    def judge(self, candidate: Candidate) -> GateResult:
        """Compare with the active version."""
        active = _active(self.cluster.status(self.model_name))
        if active is None:
            return GateResult(passed=True, why=f"no version of {self.model_name} is active on {self.cluster.name}")
        metrics, rows = candidate.metrics(Rows.HELD_OUT)
        found, before = metrics.get(self.metric), active.metrics.get(self.metric)
        if found is None or before is None:
            whose = "the candidate" if found is None else f"version {active.number}"
            return GateResult(passed=False, why=f"{whose} has no metric {self.metric}")
        worse = found - before if candidate.modeling.is_minimized(self.metric) else before - found
        allowed = f" (tolerance {self.tolerance:g})" if self.tolerance else ""
        digits = next((n for n in range(4, 17) if f"{found:.{n}g}" != f"{before:.{n}g}"), 17 if worse else 4)
        theirs = f"that of version {active.number} on {self.cluster.name} is {before:.{digits}g} on its own"
        why = f"{self.metric} is {found:.{digits}g} on {rows}, {theirs}{allowed}"
        return GateResult(passed=worse <= self.tolerance, why=why, found=found, rows=rows)


def _active(status: Status) -> Version | None:
    return status.version(status.active)
