"""A gradient-boosted ensemble of trees (LightGBM)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.packages import missing
from when_ml_pipeline_meets_hydra.ml.training.param import (
    L1,
    L2,
    LOSS,
    Depth,
    Leaves,
    Loss,
    MostTrees,
    Patience,
    Quantile,
    Rate,
    RowsOfLeaf,
    Seed,
    Shrinkage,
)

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator, FeatureRows
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

_PACKAGES = ("lightgbm",)
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
class LightGBMParam:
    """The hyperparameters of LightGBM."""

    loss: Annotated[Loss, Field(description=LOSS)] = Loss.SQUARED_ERROR
    quantile: Quantile = 0.5
    learning_rate: Rate = 0.05
    n_estimators: MostTrees = 2000
    num_leaves: Leaves = 31
    max_depth: Annotated[Depth | None, Field(description="Levels of each tree; null: as num_leaves allows")] = None
    min_samples_leaf: RowsOfLeaf = 10
    l1: Annotated[Shrinkage, Field(description=L1)] = 0.0
    l2: Annotated[Shrinkage, Field(description=L2)] = 0.0
    folds: Annotated[
        int, Field(ge=1, le=100, description="Parts of the rows, held out in turn, that tell the number of trees")
    ] = 3
    patience: Annotated[
        Patience | None, Field(description="Trees without a better loss before stopping; null: all n_estimators")
    ] = 50
    seed: Seed = 0


@frozen
class LightGBM:
    """Boosted trees over binned features (Ke et al., "LightGBM", 2017).

    Its number is the mean of those with the lowest loss on each of several held-out parts; then all rows are used.
    """

    takes: ClassVar[type] = LightGBMParam
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
        m_param: LightGBMParam,
        features: FeatureRows | Array,
        target: Array,
        progress: Progress,
        one_hot: Sequence[tuple[int, int]] = (),
        indicators: Sequence[tuple[int, int]] = (),
        apart: KeptApart | None = None,
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit``. It gets categories and missing numbers, merged from several features."""
        from when_ml_pipeline_meets_hydra.ml.models.lightgbm_training import boost
        from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

        param = self._param(task, m_param, target)
        columns = Columns(features.shape[1], one_hot, indicators)
        return boost(task, m_param, param, features, columns, target, apart, progress, sample_weight)

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.lightgbm_export import to_graph

        return to_graph(estimator, n_features)

    def _param(self, task: Task, m_param: LightGBMParam, target: Array) -> dict[str, Any]:
        """LightGBM's own parameters."""
        shared = {
            "learning_rate": m_param.learning_rate,
            "max_depth": m_param.max_depth or -1,
            "num_leaves": m_param.num_leaves,
            "min_data_in_leaf": m_param.min_samples_leaf,
            "lambda_l1": m_param.l1,
            "lambda_l2": m_param.l2,
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


def _alpha(m_param: LightGBMParam, target: Array) -> float:
    """The quantile, or for the Huber loss the residual, in units of the target, above which it is linear."""
    import numpy as np

    if m_param.loss is Loss.QUANTILE:
        return m_param.quantile
    distance = float(np.quantile(np.abs(target - np.median(target)), _HUBER_INLIERS))
    return distance or 1.0
