"""A linear model with regularisation (scikit-learn), with splines where they help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.param import LOSS, Loss, Quantile, Seed

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart


@frozen
class LinearParam:
    """The hyperparameters of linear models."""

    loss: Annotated[Loss, Field(description=LOSS)] = Loss.SQUARED_ERROR
    quantile: Quantile = 0.5
    alpha: Annotated[
        float | None,
        Field(ge=1e-9, le=1e9, description="Strength of the regularisation; null: that of the lowest validation loss"),
    ] = None
    knots: Annotated[
        int,
        Field(ge=0, le=100, description="Bends of each number's line, if they lower the validation loss; 0: straight"),
    ] = 5
    seed: Seed = 0


@frozen
class Linear:
    """Ridge, Huber or quantile regression, depending on ``m_param.loss``; logistic regression for classes.

    Numbers may enter as linear splines. Whether they do, and how strong the regularisation is, are decided by the loss
    on parts of the training rows that are held out in turn (for the squared error and for classes).
    """

    takes: ClassVar[type] = LinearParam

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "linear"
    max_iter: Annotated[int, Field(ge=1, le=1_000_000, description="Most iterations of the solver")] = 2000

    def fit(
        self,
        task: Task,
        m_param: LinearParam,
        features: Array,
        target: Array,
        progress: Progress,
        apart: KeptApart | None = None,
        sample_weight: Array | None = None,
    ) -> Estimator:
        """Train; see ``Model.fit``."""
        from when_ml_pipeline_meets_hydra.ml.models.linear_training import fit

        progress(0, 1, "fitting")
        fitted = fit(task, m_param, self.max_iter, features, target, apart, sample_weight)
        progress(1, 1, "fitted")
        return fitted

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models.linear_training import to_graph

        return to_graph(estimator, n_features)
