"""The Protocol of quality gates, their input and their result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.contracts import Fingerprinted, Several, frozen
from when_ml_pipeline_meets_hydra.errors import PipelineError, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted

HELD_OUT = "held-out rows"


class Rows(StrEnum):
    """The rows that a gate judges: those held out from training, or those that the stage prediction predicts."""

    HELD_OUT = "held_out"
    PREDICTED = "predicted"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The model under test, with the data that it was trained on and its predictions."""

    preprocessing: PreparedData
    modeling: TrainedModel
    prediction: Predicted

    def metrics(self, rows: Rows) -> tuple[Mapping[str, float], str]:
        """The metrics on some rows, and what these are called."""
        if rows is Rows.HELD_OUT:
            return self.modeling.metrics, f"the {self.preprocessing.rows_test:,} {HELD_OUT}"
        prediction = self.prediction
        name = HELD_OUT if prediction.held_out else f"rows of {prediction.rows_of}"
        return prediction.scores, f"the {prediction.known:,} {name} with a target"


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The result of a gate: ``why`` is a sentence, ``found`` the decisive number, ``rows`` those that were judged."""

    passed: bool
    why: str
    found: float | None = None
    rows: str | None = None


@runtime_checkable
class Gate(Protocol):
    """A condition that a model has to meet before it is deployed."""

    def judge(self, candidate: Candidate) -> GateResult:
        """Judge a candidate; an exception counts as not passed."""


@frozen
class Gates:
    """All gates that a model has to pass, by name."""

    tests: Annotated[Mapping[str, Gate], Several()]

    def check(self) -> Iterator[Problem]:
        """Yield the problem that no gate is left: a verdict on nothing would be in place of a refusal."""
        if not self.tests:
            remedy = "Keep one of them, or leave out the stage exptests"
            yield Problem(key="tests", message="no gate is left, so nothing would be judged", remedy=remedy)

    def fingerprint(self) -> str:
        """A digest of the outside data of the gates: they are evaluated again when it changes."""
        return hashlib.sha256(json.dumps({n: _fingerprint(g) for n, g in self.tests.items()}).encode()).hexdigest()


def _fingerprint(gate: Gate) -> str:
    if not isinstance(gate, Fingerprinted):
        return ""
    try:
        return gate.fingerprint()
    except PipelineError as error:  # judging reports it as well
        return str(error)
