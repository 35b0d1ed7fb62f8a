"""A linear model with regularisation (scikit-learn)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.param import Loss, TrainingParam

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, Estimator


@frozen
class Linear:
    """Ridge, Huber or quantile regression, depending on ``m_param.loss``; logistic regression for classes.

    Uses only ``loss``, ``quantile`` and ``seed`` of the shared hyperparameters.
    """

    name: Annotated[str, Field(min_length=1, description="Name of the model in reports")] = "linear"
    alpha: Annotated[float, Field(ge=1e-9, le=1e9, description="Strength of the regularisation")] = 1.0
    max_iter: Annotated[int, Field(ge=1, le=1_000_000, description="Most iterations of the solver")] = 2000

    def fit(self, task: Task, m_param: TrainingParam, features: Array, target: Array, progress: Progress) -> Estimator:
        """Train; see ``Model.fit``."""
        progress(0, 1, "fitting")
        estimator = self._classifier(m_param) if task is Task.CLASSIFICATION else self._regressor(m_param, len(target))
        # In 32-bit floats, the solvers lose digits that features of unequal size need.
        estimator.fit(features.astype("float64"), target)
        progress(1, 1, "fitted")
        return estimator  # type: ignore[no-any-return]

    def export(self, estimator: Any, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        import numpy as np

        from when_ml_pipeline_meets_hydra.ml.models import double_graph

        link, several = double_graph.Link, len(np.atleast_2d(estimator.coef_)) > 1
        kind = link.IDENTITY if not hasattr(estimator, "classes_") else link.SOFTMAX if several else link.SIGMOID
        coefficients = np.atleast_2d(estimator.coef_).T
        return double_graph.linear(coefficients, np.ravel(estimator.intercept_), n_features, kind)

    def _classifier(self, m_param: TrainingParam) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1 / self.alpha, max_iter=self.max_iter, random_state=m_param.seed)

    def _regressor(self, m_param: TrainingParam, rows: int) -> Any:
        from sklearn.linear_model import HuberRegressor, QuantileRegressor, Ridge

        if m_param.loss is Loss.SQUARED_ERROR:
            return Ridge(alpha=self.alpha, random_state=m_param.seed)
        if m_param.loss is Loss.HUBER:
            return HuberRegressor(alpha=self.alpha, max_iter=self.max_iter)
        quantile = m_param.quantile if m_param.loss is Loss.QUANTILE else 0.5
        # Its loss is a mean over the rows, that of the others a sum; dividing gives alpha the same meaning in all.
        return QuantileRegressor(quantile=quantile, alpha=self.alpha / rows)
