"""What a gate looks at, and what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.contracts import Fingerprinted, Several, frozen
from when_ml_pipeline_meets_hydra.errors import PipelineError
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The model that wants to pass, with what it was made from and what it says of rows."""

    preprocessing: PreparedData
    modeling: TrainedModel
    prediction: Predicted

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of its predictions; where these rows have no targets, of the held-out rows."""
        return self.prediction.scores or self.modeling.metrics


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """Whether a candidate may pass; ``why`` is a sentence, ``found`` the number that decided."""

    passed: bool
    why: str
    found: float | None = None


@runtime_checkable
class Gate(Protocol):
    """Something that a model has to be, or must not be."""

    def judge(self, candidate: Candidate) -> GateResult:
        """Whether it is so. What is raised counts as not passed."""


@frozen
class Gates:
    """All gates that a model has to pass, by name."""

    tests: Annotated[Mapping[str, Gate], Several()]

    def fingerprint(self) -> str:
        """A digest of what gates look at outside: a model is asked again when that is another."""
        return hashlib.sha256(json.dumps({n: _seen(g) for n, g in self.tests.items()}).encode()).hexdigest()


def _seen(gate: Gate) -> str:
    if not isinstance(gate, Fingerprinted):
        return ""
    try:
        return gate.fingerprint()
    except PipelineError as error:  # the gate says so itself when it is asked
        return str(error)
