"""What the stages after modeling hand to one another: predictions, a report, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Artifact, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task


@frozen
class Predicted(Artifact):
    """What a model says of rows.

    Files: ``predictions.parquet``, a row each in their order: ``row`` (its number, from 0), ``id`` (where one was asked
    for), ``target`` (a number or the name of a class; null where it is not known), ``prediction`` (likewise), and for
    classification ``probability_<class>``. ``scores`` are the metrics of the ``known`` rows, those with a target.
    """

    rows_of: str
    task: Task
    classes: tuple[str, ...] = ()
    rows: int
    known: int
    held_out: bool
    scores: Mapping[str, float] = Field(default_factory=dict)


@frozen
class Report(Artifact):
    """How good a model is, and where it errs.

    Files: ``report.html``, one page that needs nothing else; ``report.json``, the same numbers (``title``, ``rows``,
    ``sections``: a list with ``name``, ``title``, ``text``, ``numbers``).
    """

    sections: tuple[str, ...]


@frozen
class Judgement:
    """What one gate says: ``why`` names the number that was found and the one that was asked for."""

    gate: str
    passed: bool
    why: str
    found: float | None = None


@frozen
class Verdict(Artifact):
    """What all gates say of a model; ``gates.json`` has the same."""

    passed: bool
    judgements: Annotated[tuple[Judgement, ...], Field(description="One for each gate, in their order")]

    @property
    def failed(self) -> tuple[Judgement, ...]:
        """The gates that the model did not pass."""
        return tuple(j for j in self.judgements if not j.passed)
