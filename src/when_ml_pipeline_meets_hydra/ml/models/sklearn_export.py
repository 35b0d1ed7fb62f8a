"""ONNX of what scikit-learn has trained."""

from __future__ import annotations

from typing import Any

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_ML_OPSET, ONNX_OPSET


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The graph of a fitted regressor or classifier: prediction [N, 1], or probabilities [N, k] as the last output."""
    graph: onnx.ModelProto = to_onnx(
        estimator,
        initial_types=[("features", FloatTensorType([None, n_features]))],
        options={"zipmap": False} if hasattr(estimator, "classes_") else None,
        target_opset={"": ONNX_OPSET, "ai.onnx.ml": ONNX_ML_OPSET},
    )
    return graph
