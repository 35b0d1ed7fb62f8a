"""The ONNX graph of a model: standard names and shapes, and the comparison with the trained estimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET
from when_ml_pipeline_meets_hydra.ml.training.matrices import Rows, batches
from when_ml_pipeline_meets_hydra.ml.training.predictions import Array, Predictions

# Part of the largest prediction. The graph adds hundreds of trees in 32-bit floats (each sum may be off by 6e-8 of
# itself), the trained model in 64-bit ones; a row in a wrong leaf is off by far more.
TOLERANCE = 1e-5
_INSIDE = "estimator/"


def standardise(
    exported: onnx.ModelProto, n_features: int, classes: Sequence[int] | None, n_classes: int
) -> onnx.ModelProto:
    """Convert an exported graph to the names, shapes and versions that all models have.

    Args:
        exported: see ``Model.export``.
        n_features: F.
        classes: the indices of the estimator's classes, in its order; None for a regression.
        n_classes: K.

    Returns:
        Input ``features`` float32 [N, F]; outputs ``prediction`` float32 [N, 1], or ``label`` int64 [N] and
        ``probabilities`` float32 [N, K].
    """
    inner = compose.add_prefix(_with_opset(exported), _INSIDE)
    raw = inner.graph.output[-1].name
    nodes = [helper.make_node("Identity", ["features"], [inner.graph.input[0].name])]
    nodes += _needed(inner.graph, raw)
    tensors = list(inner.graph.initializer)
    if classes is None:
        nodes.append(helper.make_node("Identity", [raw], ["prediction"]))
        outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["N", 1])]
    else:
        tensors.append(numpy_helper.from_array(_class_matrix(classes, n_classes), "places"))
        nodes.append(helper.make_node("MatMul", [raw, "places"], ["probabilities"]))
        nodes.append(helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0))
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", n_classes]),
        ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", n_features])
    return _model(helper.make_graph(nodes, "model", [features], outputs, tensors))


def verify(model: bytes, features: Rows | Array, expected: Predictions) -> None:
    """Compare the predictions of a graph and of the trained estimator, on every row.

    Args:
        model: the serialised graph.
        features: float32 [N, F].
        expected: the estimator's predictions for them.

    Raises:
        StepFailed: they differ by more than the rounding of 32-bit floats.
    """
    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        runs = [session.run(names, {"features": rows}) for rows in batches(features)]
    # onnxruntime's exceptions have no common base class.
    except Exception as problem:
        raise StepFailed(f"The exported model cannot be used, so nothing is stored: {problem}") from problem
    outputs = {name: np.concatenate(parts) for name, parts in zip(names, zip(*runs, strict=True), strict=True)}
    if expected.probabilities is None:
        wrong: Array = _differs(outputs["prediction"].reshape(-1), expected.values)
    else:
        far = _differs(outputs["probabilities"], expected.probabilities)
        other_label = (outputs["label"] != expected.values) & ~_tied(expected.probabilities)
        wrong = np.logical_or.reduce([*far.T, other_label])
    if wrong.any():
        raise StepFailed(
            f"The exported model differs from the trained one on {wrong.sum()} of {len(wrong)} held-out rows, "
            f"first on row {int(wrong.argmax())}, so nothing is stored; choose another modeling/model"
        )


def _with_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=ONNX_OPSET)
    if opset != ONNX_OPSET:
        model = version_converter.convert_version(model, ONNX_OPSET)
    return model


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that ``output`` depends on, without those of the exporter's own labels."""
    wanted, kept = {output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _class_matrix(classes: Sequence[int], n_classes: int) -> Array:
    """The matrix [k, K] of ones and zeros that maps the probabilities of the estimator's classes to all classes."""
    matrix = np.zeros((len(classes), n_classes), dtype=np.float32)
    matrix[np.arange(len(classes)), classes] = 1
    return matrix


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    used = {name for node in graph.node for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    versions = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=ONNX_IR_VERSION)
    model.producer_name = "when_ml_pipeline_meets_hydra"
    return model


def _differs(actual: Array, expected: Array) -> Array:
    scale = float(np.abs(expected).max()) or 1.0
    close: Array = np.abs(actual.astype(np.float64) - expected) <= TOLERANCE * scale
    return ~close  # also where actual is NaN


def _tied(probabilities: Array) -> Array:
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), dtype=bool)
    top = np.sort(probabilities, axis=1)
    tied: Array = top[:, -1] - top[:, -2] <= 2 * TOLERANCE
    return tied
