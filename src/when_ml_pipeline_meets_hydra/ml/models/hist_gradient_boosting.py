"""Gradient-boosted trees on binned features (scikit-learn)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.param import (
    FOLDS,
    L2,
    LOSS,
    PATIENCE,
    Depth,
    HistLoss,
    Leaves,
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
    from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Part
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart


# What the first tree corrects: a constant, a linear model, or each of them in a part of the trees.
Start = Literal["auto", "constant", "linear"]


@frozen
class HistGradientBoostingParam:
    """The hyperparameters of boosting on binned features; null: by the number of training rows."""

    loss: Annotated[HistLoss, Field(description=LOSS)] = HistLoss.SQUARED_ERROR
    quantile: Quantile = 0.5
    learning_rate: Rate = 0.1
    n_estimators: MostTrees = 1000
    num_leaves: Leaves | None = None
    max_depth: Depth | None = None
    min_samples_leaf: RowsOfLeaf | None = None
    l2: Annotated[Shrinkage | None, Field(description=f"{L2}; null: 1 for numbers, about 0 for classes")] = None
    folds: Annotated[int | None, Field(ge=1, le=100, description=FOLDS)] = None
    patience: Annotated[Patience | None, Field(description=PATIENCE)] = 20
    seed: Seed = 0


@frozen
class HistGradientBoosting:
    """Boosted trees on binned features, stopped early, in folds of the training rows (Ke et al., "LightGBM", 2017).

    Each model of a fold stops where its loss on the rows of that fold is lowest; the prediction is the mean of their
    predictions (of classes: of the log-odds), as in Breiman, "Bagging predictors", 1996. Where the held-out rows of the
    split are newer, all stop after as many trees as have the lowest loss on the newest training rows.
    """

    takes: ClassVar[type] = HistGradientBoostingParam
    from_file: ClassVar[bool] = True

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "hist_gradient_boosting"
    start: Annotated[
        Start,
        Field(description="What the trees of a regression correct; auto: what errs least on validation rows, or both"),
    ] = "auto"
    max_features: Annotated[
        float | None,
        Field(gt=0, le=1, description="Part of the features tried at each split; null: less of many features"),
    ] = None
    n_jobs: Annotated[int, Field(ge=1, le=1024, description="Processor cores to train on"), Unkeyed()] = 1

    def fit(
        self,
        task: Task,
        m_param: HistGradientBoostingParam,
        features: FeatureRows | Array,
        target: Array,
        progress: Progress,
        one_hot: Sequence[tuple[int, int]] = (),
        indicators: Sequence[tuple[int, int]] = (),
        apart: KeptApart | None = None,
        parts: Sequence[Part] | None = None,
        rare: Sequence[int] = (),
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit``. It gets categories and missing numbers, merged from several features.

        With ``parts``, each the rows to train on and those to stop by, a model is trained for each of them, and the
        estimator has the method ``out_of_fold``.
        """
        from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting_training import MOST_CATEGORIES, boost
        from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

        columns = Columns(features.shape[1], [g for g in one_hot if g[1] - g[0] <= MOST_CATEGORIES], indicators)
        return boost(self, task, m_param, features, target, columns, apart, progress, parts, rare, sample_weight)

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting_export import to_graph

        return to_graph(estimator, n_features)
