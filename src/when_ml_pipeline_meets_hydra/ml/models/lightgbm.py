"""A gradient-boosted ensemble of trees (LightGBM)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.packages import missing
from when_ml_pipeline_meets_hydra.ml.training.param import Loss, TrainingParam

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator, FeatureRows

_PACKAGES = ("lightgbm",)
_MOST_LEAVES = 4096  # a tree of depth 12; LightGBM itself stops at 131072
_HUBER_INLIERS = 0.9
# With LightGBM's defaults (100, 10, 10) small tables learn little from categories; large ones do not need it.
_CATEGORIES = {"min_data_per_group": 10, "cat_smooth": 5, "cat_l2": 5}
# In a small table a bin has few rows: with LightGBM's defaults (255, 3), two values that coincide move all other bins.
_SMALL_TABLE = 20_000  # rows
_FINE_BINS = {"max_bin": 1023, "min_data_in_bin": 1}
# Largest change of a class's log-odds by one leaf, before the learning rate; otherwise unbounded for rare classes.
_MAX_STEP = 10
_OBJECTIVES = {
    Loss.SQUARED_ERROR: "regression",
    Loss.ABSOLUTE_ERROR: "regression_l1",
    Loss.HUBER: "huber",
    Loss.QUANTILE: "quantile",
}


@frozen
class LightGBM:
    """Boosted trees over binned features (Ke et al., "LightGBM", 2017)."""

    from_file: ClassVar[bool] = True

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "lightgbm"
    subsample: Annotated[float, Field(gt=0, le=1, description="Part of the rows, drawn again for each tree")] = 0.8
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried in each tree")] = 0.3
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def check(self) -> Iterable[Problem]:
        """Yield a problem if packages of the extra are missing."""
        yield from missing(self.name, _PACKAGES, "lightgbm")

    def fit(
        self,
        task: Task,
        m_param: TrainingParam,
        features: FeatureRows | Array,
        target: Array,
        progress: Progress,
        one_hot: Sequence[tuple[int, int]] = (),
    ) -> Estimator:
        """Train; see ``Model.fit``. One-hot features are merged into categorical features of LightGBM."""
        from when_ml_pipeline_meets_hydra.ml.models.lightgbm_training import boost

        total = m_param.n_estimators
        param = self._param(task, m_param, target)
        return boost(task, param, total, features, one_hot, target, lambda done: progress(done, total, "trees"))

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.lightgbm_export import to_graph

        return to_graph(estimator, n_features)

    def _param(self, task: Task, m_param: TrainingParam, target: Array) -> dict[str, Any]:
        """LightGBM's own parameters."""
        shared = {
            "learning_rate": m_param.learning_rate,
            "max_depth": m_param.max_depth,
            "num_leaves": min(2**m_param.max_depth, _MOST_LEAVES),
            # Two leaves of this size make a node of min_samples_split rows.
            "min_data_in_leaf": -(-m_param.min_samples_split // 2),
            "bagging_fraction": self.subsample,
            "bagging_freq": 1,
            "feature_fraction": self.max_features,
            "seed": m_param.seed,
            "num_threads": self.n_jobs,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            **_CATEGORIES,
            **(_FINE_BINS if len(target) <= _SMALL_TABLE else {}),
        }
        if task is Task.CLASSIFICATION:
            return {**shared, "max_delta_step": _MAX_STEP}
        return {**shared, "objective": _OBJECTIVES[m_param.loss], "alpha": _alpha(m_param, target)}


def _alpha(m_param: TrainingParam, target: Array) -> float:
    """The quantile, or for the Huber loss the residual, in units of the target, above which it is linear."""
    import numpy as np

    if m_param.loss is Loss.QUANTILE:
        return m_param.quantile
    distance = float(np.quantile(np.abs(target - np.median(target)), _HUBER_INLIERS))
    return distance or 1.0
