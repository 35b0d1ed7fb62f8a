"""Prediction intervals by conformal prediction: how far from its prediction a number may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import StepFailed

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@frozen
class Interval:
    """The prediction intervals that are wanted."""

    coverage: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Share of new rows whose target is to be inside; null: no intervals"),
    ] = None


def are_wanted(interval: Interval) -> bool:
    """Return whether predictions are to have intervals."""
    return interval.coverage is not None


def distance(errors: Array, rows: int, coverage: float, weights: Array | None = None) -> float:
    """Return how far from its prediction the target of a new row is at most, with the probability ``coverage``.

    It is the quantile of split conformal prediction (Lei et al., "Distribution-free predictive inference for
    regression", 2018), of the errors of out-of-fold predictions, all folds together. Where rows have weights, new rows
    are like the rows that these stand for, and the quantile is a weighted one (Tibshirani et al., "Conformal
    prediction under covariate shift", 2019); the weight of a new row is taken to be that which it has on average.

    Args:
        errors: the absolute error of each out-of-fold prediction, [M], in the unit of the target.
        rows: the number of different rows N that have one; with repeated folds M is larger.
        coverage: above 0, below 1.
        weights: those of the errors, positive, [M]; None: all count the same.

    Raises:
        StepFailed: so few rows say nothing about that coverage.
    """
    import numpy as np

    worth = float(rows) if weights is None else _effective(weights) * rows / len(errors)
    if round((worth + 1) * coverage, 9) > worth:
        raise _too_few(rows, worth, coverage)
    if weights is None:
        level = math.ceil(round((rows + 1) * coverage, 9)) / rows
        place = math.ceil(round(level * len(errors), 9)) - 1
        return float(np.partition(errors, place)[place])
    order = np.argsort(errors, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    place = int(np.searchsorted(reached, (worth + 1) / worth * coverage - 1e-9))
    return float(errors[order][min(place, len(errors) - 1)])


def _effective(weights: Array) -> float:
    """The number of rows of equal weight that say as much as these (Kish, "Survey sampling", 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _too_few(rows: int, worth: float, coverage: float) -> StepFailed:
    needed = math.ceil(round(coverage / (1 - coverage), 9))
    weighted = "" if worth == rows else f", which by their weights say as much as {worth:.1f}"
    return StepFailed(
        f"Intervals with interval.coverage={coverage:g} need the out-of-fold predictions of {needed:,} training "
        f"rows, and there are {rows:,}{weighted}: lower the coverage, or hold out more of them (modeling/validation)"
    )
