"""A gradient-boosted ensemble of trees (scikit-learn)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.sklearn_export import SklearnModel
from when_ml_pipeline_meets_hydra.ml.training.param import Loss, TrainingParam

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator

# Part of the residuals that the Huber loss squares; the others count as outliers.
_HUBER_INLIERS = 0.9

# Largest change of a class's log-odds by one leaf, before the learning rate.
_MAX_STEP = 10.0


class _StepLimit:
    """Bounds the leaves of a classifier, as XGBoost's ``max_delta_step`` does.

    scikit-learn takes a whole Newton step in each leaf. If the predicted probability of a rare class is almost 0, that
    step is unbounded, and the ensemble diverges.
    """

    def __init__(self) -> None:
        self._before: Array | None = None

    def apply(self, stage: int, ensemble: Any, features: Array, raw: Array) -> None:
        """Bound the leaves of the latest stage, and update the raw predictions, shape [N, K], accordingly."""
        import numpy as np

        for k, estimator in enumerate(ensemble.estimators_[stage]):
            leaves = estimator.tree_.value[:, 0, 0]
            if np.abs(leaves).max() > _MAX_STEP:
                at = estimator.tree_.apply(features)
                rate = ensemble.learning_rate
                start = raw[:, k] - rate * leaves[at] if self._before is None else self._before[:, k]
                np.clip(leaves, -_MAX_STEP, _MAX_STEP, out=leaves)
                raw[:, k] = start + rate * leaves[at]
        self._before = raw.copy()


@frozen
class GradientBoosting(SklearnModel):
    """Trees that each correct the sum of the previous ones (Friedman, "Stochastic gradient boosting", 2002)."""

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "gradient_boosting"
    subsample: Annotated[float, Field(gt=0, le=1, description="Part of the rows, drawn again for each tree")] = 0.5
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 0.3

    def fit(
        self,
        task: Task,
        m_param: TrainingParam,
        features: Array,
        target: Array,
        progress: Progress,
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit``."""
        total = m_param.n_estimators

        limit = _StepLimit() if task is Task.CLASSIFICATION else None

        def monitor(stage: int, ensemble: Any, fit: dict[str, Any]) -> bool:
            if limit:
                limit.apply(stage, ensemble, fit["X"], fit["raw_predictions"])
            progress(stage + 1, total, "trees")
            return False

        estimator = self._build(task, m_param)
        estimator.fit(features, target, sample_weight=sample_weight, monitor=monitor)
        losses = {"training rows": estimator.train_score_.tolist()}
        if self.subsample < 1:
            losses["rows left out of a tree"] = estimator.oob_scores_.tolist()
        estimator.history_ = {"step": "tree", "losses": losses, "best": None}
        return estimator  # type: ignore[no-any-return]

    def _build(self, task: Task, m_param: TrainingParam) -> Any:
        from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

        shared = {
            "learning_rate": m_param.learning_rate,
            "n_estimators": m_param.n_estimators,
            "max_depth": m_param.max_depth,
            "min_samples_split": m_param.min_samples_split,
            "subsample": self.subsample,
            "max_features": self.max_features,
            "random_state": m_param.seed,
        }
        if task is Task.CLASSIFICATION:
            return GradientBoostingClassifier(**shared)
        alpha = m_param.quantile if m_param.loss is Loss.QUANTILE else _HUBER_INLIERS
        return GradientBoostingRegressor(**shared, loss=m_param.loss.value, alpha=alpha)
