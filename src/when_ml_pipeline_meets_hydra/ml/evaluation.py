"""Artifacts of the stages after modeling: predictions, a report, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Artifact, Direction, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import DIRECTIONS, Decision, Task

COVERAGE = "coverage"  # of predictions with intervals: the share of the rows whose target is inside


@frozen
class Predicted(Artifact):
    """A model's predictions for rows.

    Files: ``predictions.parquet``, one row per input row, in order: ``row`` (its number in the data set or file, from
    0), ``id`` (if the config names a column for it), ``target`` (a number or the name of a class; null if unknown),
    ``prediction`` (likewise), and for classification ``probability_<class>``; with intervals, ``lower`` and ``upper``;
    if the rows have weights, ``weight``. ``scores`` are the metrics of the ``known`` rows: with a target; ``weight`` is
    the column by which they are weighted.
    """

    directions: ClassVar[Mapping[str, Direction]] = DIRECTIONS

    rows_of: str
    task: Task
    classes: tuple[str, ...] = ()
    rows: int
    known: int
    held_out: bool
    scores: Mapping[str, float] = Field(default_factory=dict)
    weight: str | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        """The scores on other rows than the held-out ones, whose metrics are those of the model already."""
        return {} if self.held_out else self.scores


@frozen
class FoldScore:
    """The metrics on the held-out ``rows`` of a fold (from 1), of a model trained on ``rows_train`` others."""

    fold: int
    rows_train: int
    rows: int
    metrics: Mapping[str, float]


@frozen
class Validated(Artifact):
    """The validation scores of a model: the mean of each metric over the folds, and the standard deviation.

    Files: ``predictions.parquet``, the out-of-fold predictions, a row for each row and repeat: ``row`` (its number in
    the data set, from 0), ``fold`` (from 1), ``target``, ``prediction`` (numbers, or names of classes), and for
    classification ``probability_<class>``; if rows have weights, ``weight``; ``scores.json``, the metrics of each fold.
    A metric that is undefined in some folds is the mean over the others. Of one fold there are no ``deviations``.
    ``decision`` is the threshold that is best on all of these predictions; those of a fold are decided by the one that
    is best on the other folds. ``model_bytes`` is the mean size of the models' ONNX graphs.
    """

    directions: ClassVar[Mapping[str, Direction]] = DIRECTIONS
    scored_on: ClassVar[str | None] = "validation"

    model: str
    task: Task
    metrics: Mapping[str, float]
    deviations: Mapping[str, float]
    baseline: Mapping[str, float]
    folds: tuple[FoldScore, ...]
    decision: Decision | None = None
    model_bytes: float | None = None

    @property
    def measured(self) -> Mapping[str, float | None]:
        """Its metrics, and ``model_bytes``."""
        return {**self.metrics, "model_bytes": self.model_bytes}

    @property
    def summary(self) -> str:
        """The scores in a line."""
        count = f"{len(self.folds)} folds" if len(self.folds) > 1 else "one part"
        spread = {name: f" ± {value:.2g}" for name, value in self.deviations.items()}
        shown = (
            f"{name} {value:.4g}{spread.get(name, '')}{beside(self.baseline, name)}"
            for name, value in self.metrics.items()
        )
        return f"{self.model} on {count} of the training rows: {', '.join(shown)}"


@frozen
class PredictionIntervals(Artifact):
    """Intervals around predicted numbers: each reaches ``distance`` below and above, in the unit of the target.

    The target of a new row is inside with the probability ``coverage``, if new rows are like the training rows. The
    distance is from the errors of the out-of-fold predictions of ``rows`` training rows. The metrics are those on the
    held-out rows: ``coverage``, the share inside, and ``interval_width``. If rows have weights, shares of rows and of
    errors are those of their weight. File: ``intervals.json``, with the same.
    """

    directions: ClassVar[Mapping[str, Direction]] = {"interval_width": "minimize"}
    scored_on: ClassVar[str | None] = "test"

    coverage: Annotated[float, Field(gt=0, lt=1)]
    distance: Annotated[float, Field(ge=0)]
    rows: int
    metrics: Mapping[str, float]


def beside(baseline: Mapping[str, float], metric: str) -> str:
    """Return a metric of the naive baseline as it stands behind that of a model; "" if it is undefined."""
    return f" (naive {baseline[metric]:.4g})" if metric in baseline else ""


def mean_and_deviation(scores: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean of each metric, and its standard deviation where there are at least two values."""
    values = {name: [s[name] for s in scores if name in s] for name in dict.fromkeys(n for s in scores for n in s)}
    means = {name: fmean(found) for name, found in values.items()}
    return means, {name: stdev(found) for name, found in values.items() if len(found) > 1}


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
    def measured(self) -> Mapping[str, float | None]:
        """``failed``, the number of gates that failed, and what each gate has found, by its name."""
        return {"failed": float(len(self.failed)), **{j.gate: j.found for j in self.judgements}}

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
