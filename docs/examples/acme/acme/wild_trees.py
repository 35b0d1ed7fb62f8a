"""A model: extremely randomised trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra import Progress, SklearnModel, Task, TrainingParam, Unkeyed, frozen

if TYPE_CHECKING:
    import numpy as np

    from when_ml_pipeline_meets_hydra import Estimator


@frozen
class WildTrees(SklearnModel):
    """Trees whose splits are drawn at random (Geurts et al., "Extremely randomized trees", 2006)."""

    name: Annotated[str, Field(description="Name of the model in reports")]
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 1.0
    n_jobs: Annotated[int, Field(ge=1, description="Processor cores to train on"), Unkeyed()] = 1

    def fit(
        self, task: Task, m_param: TrainingParam, features: np.ndarray, target: np.ndarray, progress: Progress
    ) -> Estimator:
        """Train."""
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        kind = ExtraTreesClassifier if task is Task.CLASSIFICATION else ExtraTreesRegressor
        estimator = kind(
            n_estimators=m_param.n_estimators,
            min_samples_split=m_param.min_samples_split,
            max_features=self.max_features,
            random_state=m_param.seed,
            n_jobs=self.n_jobs,
        )
        return estimator.fit(features, target)  # type: ignore[no-any-return]
