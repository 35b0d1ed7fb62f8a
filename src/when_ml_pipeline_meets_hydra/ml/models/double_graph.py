"""Graphs of fitted models in double precision, as exact as the libraries that fitted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET

Array = np.ndarray[Any, Any]
FEATURES, COLUMNS, SCORES, _OUTPUT = "features", "columns", "scores", "predicted"


class Link(StrEnum):
    """The function from scores to predictions."""

    IDENTITY = "identity"  # [N, K] → the same
    COMPLEMENT = "complement"  # [N, 1], the probability p of the second class → 1 - p, p
    SIGMOID = "sigmoid"  # [N, 1], the log-odds of the second class → 1 - p, p
    SOFTMAX = "softmax"  # [N, K] → probabilities


def model(
    nodes: Sequence[onnx.NodeProto], tensors: Mapping[str, Array], n_features: int, link: Link
) -> onnx.ModelProto:
    """Return a graph from ``features``, double [N, F], to predictions, double [N, K].

    ``nodes`` compute ``scores`` from ``features`` and the constants ``tensors``.
    """
    made = [*nodes, *_link(link)]
    used = {name for node in made for name in node.input}
    constants = {name: value for name, value in {**tensors, "one": np.ones(1)}.items() if name in used}
    graph = helper.make_graph(
        made,
        "estimator",
        [helper.make_tensor_value_info(FEATURES, TensorProto.DOUBLE, ["N", n_features])],
        [helper.make_tensor_value_info(_OUTPUT, TensorProto.DOUBLE, ["N", "K"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    versions = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)]
    return helper.make_model(graph, opset_imports=versions, ir_version=ONNX_IR_VERSION)


def linear(
    coefficients: Array,
    intercepts: Array,
    n_features: int,
    link: Link,
    columns: Sequence[onnx.NodeProto] = (),
    tensors: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """Return the graph of a linear model with ``coefficients`` [C, K] and ``intercepts`` [K].

    ``columns`` are nodes that compute ``columns`` [N, C] from ``features`` and ``tensors``; without them they are the
    features.
    """
    nodes = [
        *columns,
        helper.make_node("MatMul", [COLUMNS if columns else FEATURES, "coefficients"], ["products"]),
        helper.make_node("Add", ["products", "intercepts"], [SCORES]),
    ]
    own = {"coefficients": coefficients.astype(np.float64), "intercepts": intercepts.astype(np.float64)}
    return model(nodes, {**(tensors or {}), **own}, n_features, link)


def _link(link: Link) -> list[onnx.NodeProto]:
    if link is Link.IDENTITY:
        return [helper.make_node("Identity", [SCORES], [_OUTPUT])]
    if link is Link.SOFTMAX:
        return [helper.make_node("Softmax", [SCORES], [_OUTPUT], axis=1)]
    first = "Sigmoid" if link is Link.SIGMOID else "Identity"
    return [
        helper.make_node(first, [SCORES], ["second"]),
        helper.make_node("Sub", ["one", "second"], ["first"]),
        helper.make_node("Concat", ["first", "second"], [_OUTPUT], axis=1),
    ]
