"""The export of scikit-learn's estimators to ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_OPSET

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Estimator

# The newest operators for trees that skl2onnx writes.
_ML_OPSET = 3


class SklearnModel:
    """Base class of scikit-learn's models, which exports them to ONNX, in double precision where that is possible."""

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from when_ml_pipeline_meets_hydra.ml.models import sklearn_graphs, sklearn_trees

        if graph := sklearn_trees.to_graph(estimator, n_features):
            return graph
        try:
            return sklearn_graphs.to_graph(estimator, n_features)
        except sklearn_graphs.NoGraph:
            return _converted(estimator, n_features)


def _converted(estimator: Estimator, n_features: int) -> onnx.ModelProto:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    graph: onnx.ModelProto = to_onnx(
        estimator,
        initial_types=[("features", FloatTensorType([None, n_features]))],
        options={"zipmap": False} if hasattr(estimator, "classes_") else None,
        target_opset={"": ONNX_OPSET, "ai.onnx.ml": _ML_OPSET},
    )
    return graph
