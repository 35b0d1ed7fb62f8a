"""A gradient-boosted ensemble of trees (XGBoost)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.packages import missing
from when_ml_pipeline_meets_hydra.ml.training.param import (
    FOLDS,
    L1,
    L2,
    LOSS,
    PATIENCE,
    Leaves,
    Loss,
    MostTrees,
    Patience,
    Quantile,
    Rate,
    Seed,
    Shrinkage,
)

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator, FeatureRows
    from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Part
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

_PACKAGES = ("xgboost",)


@frozen
class XGBoostParam:
    """The hyperparameters of XGBoost."""

    loss: Annotated[Loss, Field(description=LOSS)] = Loss.SQUARED_ERROR
    quantile: Quantile = 0.5
    learning_rate: Rate = 0.05
    n_estimators: MostTrees = 2000
    num_leaves: Annotated[
        Leaves | None, Field(description="Maximum number of leaves of each tree; null: as max_depth allows")
    ] = None
    max_depth: Annotated[
        int | None, Field(ge=1, le=20, description="Levels of each tree; null: as num_leaves allows, otherwise 6")
    ] = 6
    min_child_weight: Annotated[
        float, Field(ge=0, le=1e9, description="Rows that a leaf needs; of classes: the sum of p(1 - p) over its rows")
    ] = 1.0
    gamma: Annotated[float, Field(ge=0, le=1e9, description="Loss by which a split has to be better")] = 0.0
    l1: Annotated[Shrinkage, Field(description=L1)] = 0.0
    l2: Annotated[Shrinkage, Field(description=L2)] = 1.0
    folds: Annotated[int, Field(ge=1, le=100, description=FOLDS)] = 3
    patience: Annotated[Patience | None, Field(description=PATIENCE)] = 50
    seed: Seed = 0


@frozen
class XGBoost:
    """Boosted trees over binned features (Chen and Guestrin, "XGBoost", 2016), the mean of one model for each fold."""

    takes: ClassVar[type] = XGBoostParam
    from_file: ClassVar[bool] = True

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "xgboost"
    subsample: Annotated[float, Field(gt=0, le=1, description="Part of the rows, drawn again for each tree")] = 0.8
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 0.6
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def check(self) -> Iterable[Problem]:
        """Yield a problem if packages of the extra are missing."""
        yield from missing(self.name, _PACKAGES, "xgboost")

    def fit(
        self,
        task: Task,
        m_param: XGBoostParam,
        features: FeatureRows | Array,
        target: Array,
        progress: Progress,
        one_hot: Sequence[tuple[int, int]] = (),
        indicators: Sequence[tuple[int, int]] = (),
        apart: KeptApart | None = None,
        parts: Sequence[Part] | None = None,
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit`` and, for ``parts``, ``HistGradientBoosting.fit``.

        It gets categories and missing numbers, merged from several features.
        """
        from when_ml_pipeline_meets_hydra.ml.models.boosting_in_folds import boost
        from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns
        from when_ml_pipeline_meets_hydra.ml.models.xgboost_training import XGBoostTraining

        columns = Columns(features.shape[1], one_hot, indicators)
        return boost(
            XGBoostTraining, self, task, m_param, features, target, columns, apart, progress, parts, sample_weight
        )

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.xgboost_export import to_graph

        return to_graph(estimator, n_features)
