"""Gate: latency of a prediction."""

from __future__ import annotations

from itertools import islice
from time import perf_counter_ns
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import HELD_OUT, Candidate, GateResult


@frozen
class Latency:
    """Passes if the 99th percentile of the time for predicting a single raw row is low enough."""

    p99_ms: Annotated[float, Field(gt=0, le=3_600_000, description="The most that passes, in milliseconds")]
    requests: Annotated[int, Field(ge=100, le=1_000_000, description="Number of single-row predictions")] = 1000
    warm_up: Annotated[int, Field(ge=0, le=1_000_000, description="Predictions before those, not measured")] = 50

    def judge(self, candidate: Candidate) -> GateResult:
        """Predict with the bundle as a server does, row by row."""
        from itertools import cycle

        import numpy as np

        from when_ml_pipeline_meets_hydra.serving.bundle_predictions import Predictor
        from when_ml_pipeline_meets_hydra.serving.bundling import held_out_rows

        served = Predictor(candidate.preprocessing, candidate.modeling).bundle_scorer
        held_out = held_out_rows(candidate.preprocessing, candidate.modeling).rows
        rows = cycle(held_out)
        for row in islice(rows, self.warm_up):
            served.predict([row])
        took = []
        for row in islice(rows, self.requests):
            start = perf_counter_ns()
            served.predict([row])
            took.append(perf_counter_ns() - start)
        found, half = (float(np.percentile(took, q)) / 1e6 for q in (99, 50))
        why = f"99 of 100 rows take at most {found:.3g} ms (half of them {half:.3g}), allowed {self.p99_ms:g} ms"
        return GateResult(passed=found <= self.p99_ms, why=why, found=found, rows=f"{len(held_out):,} {HELD_OUT}")
