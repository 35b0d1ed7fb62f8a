"""A metric that is a function of targets and predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Called, Direction, frozen

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.metrics.interface import ScoredRows


@frozen
class FunctionMetric:
    """The number that ``function`` returns for ``y_true`` and ``y_pred``, [N] each: numbers, or names of classes.

    Where its signature has them, it also receives ``sample_weight``, [N] (ones, if rows have no weights), ``y_prob``,
    the probabilities [N, K] of the classes, and ``classes``, their names.
    """

    function: Annotated[Callable[..., Any], Called("y_true", "y_pred", "sample_weight", "y_prob", "classes")]
    direction: Annotated[Direction, Field(description="Which way it is better")]

    def score(self, rows: ScoredRows) -> float:
        """Return what the function returns."""
        import numpy as np

        known = {
            "y_true": rows.target,
            "y_pred": rows.predicted,
            "sample_weight": np.ones(len(rows.target)) if rows.weights is None else rows.weights,
            "y_prob": rows.probabilities,
            "classes": rows.classes,
        }
        wanted = inspect.signature(self.function).parameters.keys() & known.keys()
        return self.function(**{name: known[name] for name in wanted})  # type: ignore[no-any-return]
