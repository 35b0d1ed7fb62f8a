"""The Protocol of further metrics, and those of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.contracts import Direction, Several, frozen
from when_ml_pipeline_meets_hydra.errors import Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import DIRECTIONS
from when_ml_pipeline_meets_hydra.ml.evaluation import COVERAGE
from when_ml_pipeline_meets_hydra.ml.metrics.function import FunctionMetric

if TYPE_CHECKING:
    import numpy as np

    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """N rows with a known target: ``target`` and ``predicted``, [N], are numbers, or names of classes (texts).

    ``probabilities``, [N, K], are those of the K ``classes``, or None for numbers; ``weights``, [N], those of the rows,
    or None if all count the same.
    """

    target: Array
    predicted: Array
    probabilities: Array | None = None
    classes: tuple[str, ...] = ()
    weights: Array | None = None

    @classmethod
    def of(
        cls, target: Array, predicted: Predictions, classes: tuple[str, ...] = (), weights: Array | None = None
    ) -> ScoredRows:
        """Return rows whose targets and predictions are numbers, or indices of ``classes``."""
        import numpy as np

        if not classes:
            return cls(target=target, predicted=predicted.values, weights=weights)
        names = np.array(classes, dtype=object)
        return cls(
            target=names[target],
            predicted=names[predicted.values],
            probabilities=predicted.probabilities,
            classes=classes,
            weights=weights,
        )


@runtime_checkable
class Metric(Protocol):
    """A metric of predictions; ``direction`` says which way it is better."""

    @property
    def direction(self) -> Direction:
        """``maximize`` or ``minimize``."""

    def score(self, rows: ScoredRows) -> float:
        """Return the metric; NaN if it is undefined for these rows."""


@frozen
class Metrics:
    """Further metrics by name, beside those that every model has."""

    own: Annotated[Mapping[str, Metric], Several(functions=FunctionMetric)] = field(default_factory=dict)

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Which way each metric is better."""
        return {name: metric.direction for name, metric in self.own.items()}

    def problems(self) -> Iterator[Problem]:
        """Yield the problem of a name that another metric has, or that no word is."""
        for name in self.own:
            if name in (*DIRECTIONS, COVERAGE):
                yield Problem(key=f"metrics.own.{name}", message="there is a metric of this name already")
            elif not name.isidentifier():
                message = "the name of a metric has letters, digits and _ alone"
                yield Problem(key=f"metrics.own.{name}", message=message)

    def scores(self, rows: ScoredRows) -> tuple[dict[str, float], dict[str, str]]:
        """Return the metrics of some rows, and the undefined ones, each with the reason.

        Raises:
            StepFailed: a metric fails, or is no number.
        """
        found = {name: _score(name, metric, rows) for name, metric in self.own.items()}
        without = {name: f"it is {value}" for name, value in found.items() if not math.isfinite(value)}
        return {name: value for name, value in found.items() if name not in without}, without


NONE = Metrics()


def _score(name: str, metric: Metric, rows: ScoredRows) -> float:
    try:
        value = metric.score(rows)
    except Exception as error:  # a metric is code of a user's
        raise StepFailed(f"The metric {name} fails: {type(error).__name__}: {error}") from error
    try:
        return float(value)
    except (TypeError, ValueError):
        raise StepFailed(f"The metric {name} returned {value!r}, and a metric is a number") from None
