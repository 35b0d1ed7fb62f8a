"""The export of scikit-learn's estimators to ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_ML_OPSET, ONNX_OPSET

if TYPE_CHECKING:
    import onnx

    from when_ml_pipeline_meets_hydra.ml.models.interface import Estimator


class SklearnModel:
    """Base class of scikit-learn's models, which exports them to ONNX."""

    def export(self, estimator: Estimator, n_features: int) -> onnx.ModelProto:
        """Convert the fitted model to ONNX; see ``Model.export``."""
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        graph: onnx.ModelProto = to_onnx(
            estimator,
            initial_types=[("features", FloatTensorType([None, n_features]))],
            options={"zipmap": False} if hasattr(estimator, "classes_") else None,
            target_opset={"": ONNX_OPSET, "ai.onnx.ml": ONNX_ML_OPSET},
        )
        return graph
