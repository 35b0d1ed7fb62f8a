"""Extremely randomised trees (scikit-learn)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.random_forest import Forest


@frozen
class ExtraTrees(Forest):
    """The average of trees whose splits are drawn at random (Geurts et al., "Extremely randomized trees", 2006)."""

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "extra_trees"
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 0.6

    def kind(self, task: Task) -> Any:
        """Return scikit-learn's class for a task."""
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        return ExtraTreesClassifier if task is Task.CLASSIFICATION else ExtraTreesRegressor
