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


def distance(errors: Array, rows: int, coverage: float) -> float:
    """Return how far from its prediction the target of a new row is at most, with the probability ``coverage``.

    It is the quantile of split conformal prediction (Lei et al., "Distribution-free predictive inference for
    regression", 2018), of the errors of out-of-fold predictions, all folds together.

    Args:
        errors: the absolute error of each out-of-fold prediction, [M], in the unit of the target.
        rows: the number of different rows N that have one; with repeated folds M is larger.
        coverage: above 0, below 1.

    Raises:
        StepFailed: so few rows say nothing about that coverage.
    """
    import numpy as np

    level = math.ceil(round((rows + 1) * coverage, 9)) / rows if rows else math.inf
    if level > 1:
        needed = math.ceil(round(coverage / (1 - coverage), 9))
        raise StepFailed(
            f"Intervals with interval.coverage={coverage:g} need the out-of-fold predictions of {needed:,} training "
            f"rows, and there are {rows:,}: lower the coverage, or hold out more of them (modeling/validation)"
        )
    place = math.ceil(round(level * len(errors), 9)) - 1
    return float(np.partition(errors, place)[place])
