"""A gradient-boosted ensemble of symmetric trees (CatBoost)."""

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
    L2,
    LOSS,
    PATIENCE,
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

_PACKAGES = ("catboost",)


@frozen
class CatBoostParam:
    """The hyperparameters of CatBoost."""

    loss: Annotated[Loss, Field(description=LOSS)] = Loss.SQUARED_ERROR
    quantile: Quantile = 0.5
    learning_rate: Rate = 0.05
    n_estimators: MostTrees = 2000
    max_depth: Annotated[int, Field(ge=1, le=12, description="Levels of each tree, each with one split")] = 6
    random_strength: Annotated[
        float, Field(ge=0, le=1e6, description="Noise by which splits are chosen, which gets less with each tree")
    ] = 1.0
    l2: Annotated[Shrinkage, Field(description=L2)] = 3.0
    folds: Annotated[int, Field(ge=1, le=100, description=FOLDS)] = 5
    patience: Annotated[Patience | None, Field(description=PATIENCE)] = 50
    seed: Seed = 0


@frozen
class CatBoost:
    """Boosted symmetric trees (Prokhorenkova et al., "CatBoost", 2018), the mean of one model for each fold.

    Categories are replaced by means of the target over the rows before (in a random order); not their combinations.
    """

    takes: ClassVar[type] = CatBoostParam
    from_file: ClassVar[bool] = True

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "catboost"
    max_features: Annotated[float, Field(gt=0, le=1, description="Part of the features tried at each split")] = 1.0
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def check(self) -> Iterable[Problem]:
        """Yield a problem if packages of the extra are missing."""
        yield from missing(self.name, _PACKAGES, "catboost")

    def fit(
        self,
        task: Task,
        m_param: CatBoostParam,
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
        from when_ml_pipeline_meets_hydra.ml.models.catboost_training import CatBoostTraining
        from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

        columns = Columns(features.shape[1], one_hot, indicators)
        return boost(
            CatBoostTraining, self, task, m_param, features, target, columns, apart, progress, parts, sample_weight
        )

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.catboost_export import to_graph

        return to_graph(estimator, n_features)
