"""The export of an ensemble to ONNX: the graphs of its members in one, and their weighted sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from when_ml_pipeline_meets_hydra.ml.models import double_graph, frequent_categories
from when_ml_pipeline_meets_hydra.ml.models.double_graph import FEATURES, SCORES, Link

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.ensemble_training import WeightedMean

Array = np.ndarray[Any, Any]


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a weighted mean: prediction [N, 1], or probabilities [N, k]."""
    mean: WeightedMean = estimator
    nodes: list[onnx.NodeProto] = []
    tensors: dict[str, Array] = {}
    for number, (candidate, fitted, places) in enumerate(mean.parts):
        prefix = f"{number}/"
        exported = frequent_categories.export(candidate.model, fitted, n_features)
        inner = compose.add_prefix(exported, prefix).graph
        source, raw = inner.input[0], inner.output[-1].name
        nodes.append(helper.make_node("Cast", [FEATURES], [source.name], to=source.type.tensor_type.elem_type))
        nodes += inner.node
        tensors |= {tensor.name: numpy_helper.to_array(tensor) for tensor in inner.initializer}
        tensors[f"weights {number}"] = places
        nodes.append(helper.make_node("Cast", [raw], [f"own {number}"], to=TensorProto.DOUBLE))
        own = f"own {number}"
        if mean.ends:
            nodes.append(helper.make_node("Max", [own, "low end"], [f"above {number}"]))
            nodes.append(helper.make_node("Min", [f"above {number}", "high end"], [f"within {number}"]))
            own = f"within {number}"
        nodes.append(helper.make_node("MatMul", [own, f"weights {number}"], [f"part {number}"]))
    if mean.ends:
        tensors |= {name: np.array([end]) for name, end in zip(("low end", "high end"), mean.ends, strict=True)}
    nodes.append(helper.make_node("Sum", [f"part {number}" for number in range(len(mean.parts))], [SCORES]))
    return double_graph.model(nodes, tensors, n_features, Link.IDENTITY)
