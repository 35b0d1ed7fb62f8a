"""A random forest (scikit-learn)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.sklearn_export import SklearnModel
from when_ml_pipeline_meets_hydra.ml.training.param import Loss, TrainingParam

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator

_CHUNKS = 20
_LOSSES = (Loss.SQUARED_ERROR, Loss.ABSOLUTE_ERROR)


@frozen
class RandomForest(SklearnModel):
    """The average of trees on random samples of the rows and features (Breiman, "Random forests", 2001)."""

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "random_forest"
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 0.3
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def fit(self, task: Task, m_param: TrainingParam, features: Array, target: Array, progress: Progress) -> Estimator:
        """Train; see ``Model.fit``."""
        estimator = self._build(task, m_param)
        total = m_param.n_estimators
        step = -(-total // _CHUNKS)
        for start in range(0, total, step):
            done = min(start + step, total)
            # With warm_start each call only adds trees; the forest is the same as that of one call.
            estimator.set_params(n_estimators=done).fit(features, target)
            progress(done, total, "trees")
        return estimator  # type: ignore[no-any-return]

    def _build(self, task: Task, m_param: TrainingParam) -> Any:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        shared = {
            "max_depth": m_param.max_depth,
            "min_samples_split": m_param.min_samples_split,
            "max_features": self.max_features,
            "random_state": m_param.seed,
            "n_jobs": self.n_jobs,
            "warm_start": True,
        }
        if task is Task.CLASSIFICATION:
            return RandomForestClassifier(**shared, criterion="log_loss")
        return RandomForestRegressor(**shared, criterion=_criterion(m_param.loss))


def _criterion(loss: Loss) -> str:
    if loss not in _LOSSES:
        allowed = " or ".join(_LOSSES)
        raise BadInput(
            Problem(
                key="m_param.loss",
                value=loss.value,
                message=f"a random forest cannot minimise it; allowed are {allowed}",
                remedy="Choose one of them, or modeling/model=gradient_boosting",
            )
        )
    return loss.value
