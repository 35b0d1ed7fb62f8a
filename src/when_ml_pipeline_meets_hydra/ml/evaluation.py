"""Artifacts of the stages after modeling: predictions, a report, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Artifact, Direction, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import DIRECTIONS, Task


@frozen
class Predicted(Artifact):
    """A model's predictions for rows.

    Files: ``predictions.parquet``, one row per input row, in order: ``row`` (its number in the
    data set or file, from 0), ``id`` (if the config
    names a column for it), ``target`` (a number or the name of a class; null if unknown), ``prediction`` (likewise),
    and for classification ``probability_<class>``. ``scores`` are the metrics of the ``known`` rows: with a target.
    """

    directions: ClassVar[Mapping[str, Direction]] = DIRECTIONS

    rows_of: str
    task: Task
    classes: tuple[str, ...] = ()
    rows: int
    known: int
    held_out: bool
    scores: Mapping[str, float] = Field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The scores on other rows than the held-out ones, whose metrics are those of the model already."""
        return {} if self.held_out else self.scores


@frozen
class Report(Artifact):
    """A report on the quality and the errors of a model.

    Files: ``report.html``, a self-contained page; ``report.json``, the same numbers (``title``, ``rows``,
    ``sections``: a list with ``name``, ``title``, ``text``, ``numbers``).
    """

    sections: tuple[str, ...]


@frozen
class Judgement:
    """The result of one gate; ``why`` names the measured number and the required one, ``rows`` what was judged."""

    gate: str
    passed: bool
    why: str
    found: float | None = None
    rows: str | None = None


@frozen
class Verdict(Artifact):
    """The results of all gates for a model; ``gates.json`` has the same content."""

    passed: bool
    judgements: Annotated[tuple[Judgement, ...], Field(description="One for each gate, in their order")]

    @property
    def refusal(self) -> str | None:
        """The gates that failed, with the reasons; None if all passed."""
        if self.passed:
            return None
        reasons = "; ".join(f"{j.gate}: {j.why}" for j in self.failed)
        return f"{len(self.failed)} of {len(self.judgements)} gates failed: {reasons}"

    @property
    def failed(self) -> tuple[Judgement, ...]:
        """The gates that the model did not pass."""
        return tuple(j for j in self.judgements if not j.passed)
