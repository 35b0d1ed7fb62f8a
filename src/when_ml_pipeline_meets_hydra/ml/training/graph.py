"""The ONNX graph of a model: standard names and shapes, its predictions, and their comparison with the estimator's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET, Decision
from when_ml_pipeline_meets_hydra.ml.training.matrices import Rows, batches
from when_ml_pipeline_meets_hydra.ml.training.predictions import Array, Predictions, from_probabilities
from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale

# Part of the target's spread, or of a prediction's distance from its center, or of 1, the largest probability. Networks
# compute in 32-bit floats, with errors of about 1e-7; a row in a wrong branch is off by far more.
TOLERANCE = 1e-5
_INSIDE = "estimator/"
_PART = 2048  # rows at once; some graphs need thousands of numbers for each
# Operators that ai.onnx.ml 5 no longer has, in graphs of other exporters, and the newest version that has them.
_FORMER_OPERATORS, _FORMER_ML_OPSET = {"TreeEnsembleRegressor", "TreeEnsembleClassifier"}, 4


def standardise(
    exported: onnx.ModelProto,
    n_features: int,
    classes: Sequence[int] | None,
    n_classes: int,
    scale: TargetScale | None = None,
) -> onnx.ModelProto:
    """Convert an exported graph to the names, shapes and versions that all models have.

    Args:
        exported: see ``Model.export``.
        n_features: F.
        classes: the indices of the estimator's classes, in its order; None for a regression.
        n_classes: K.
        scale: of the target that the estimator was trained on; None for classes.

    Returns:
        Input ``features`` float32 [N, F]; outputs ``prediction`` float64 [N, 1] in the unit of the target, or ``label``
        int64 [N] and ``probabilities`` float32 [N, K].
    """
    inner = compose.add_prefix(_with_opset(exported), _INSIDE)
    source, raw = inner.graph.input[0], inner.graph.output[-1].name
    nodes = [helper.make_node("Cast", ["features"], [source.name], to=source.type.tensor_type.elem_type)]
    nodes += _needed(inner.graph, raw)
    tensors = list(inner.graph.initializer)
    if classes is None:
        scale = scale or TargetScale(center=0.0, spread=1.0)
        tensors += [_number("spread", scale.spread), _number("center", scale.center)]
        nodes.append(helper.make_node("Cast", [raw], ["scaled"], to=TensorProto.DOUBLE))
        nodes.append(helper.make_node("Mul", ["scaled", "spread"], ["offset"]))
        nodes.append(helper.make_node("Add", ["offset", "center"], ["prediction"]))
        outputs = [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["N", 1])]
    else:
        tensors.append(numpy_helper.from_array(_class_matrix(classes, n_classes), "places"))
        nodes.append(helper.make_node("Cast", [raw], ["own"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("MatMul", ["own", "places"], ["probabilities"]))
        nodes.append(helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0))
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", n_classes]),
        ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", n_features])
    return _model(helper.make_graph(nodes, "model", [features], outputs, tensors))


def with_decision(model: bytes, decision: Decision) -> bytes:
    """Return a serialised standard graph for two classes whose ``label`` is that of a decision."""
    made = onnx.load_model_from_string(model)
    graph = made.graph
    kept = [node for node in graph.node if "label" not in node.output]
    del graph.node[:]
    graph.node.extend(kept)
    positive, threshold = np.array(decision.positive), np.array(decision.threshold, dtype=np.float32)
    constants = {"positive": positive, "negative": 1 - positive, "threshold": threshold}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Gather", ["probabilities", "positive"], ["probability"], axis=1),
            helper.make_node("GreaterOrEqual", ["probability", "threshold"], ["is positive"]),
            helper.make_node("Where", ["is positive", "positive", "negative"], ["label"]),
        ]
    )
    serialised: bytes = made.SerializeToString(deterministic=True)
    return serialised


def session(model: bytes) -> Any:
    """Load a standard graph; it sums in a fixed order, so that its predictions are reproducible."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def predict(loaded: Any, features: Rows | Array) -> Predictions:
    """Return the predictions of a loaded standard graph for features, float32 [N, F]."""
    names = [output.name for output in loaded.get_outputs()]
    parts = (rows[k : k + _PART] for rows in batches(features) for k in range(0, max(1, len(rows)), _PART))
    runs = [loaded.run(names, {"features": rows}) for rows in parts]
    outputs = {name: np.concatenate(parts) for name, parts in zip(names, zip(*runs, strict=True), strict=True)}
    if "prediction" in outputs:
        return Predictions(values=outputs["prediction"].reshape(-1))
    predicted = from_probabilities(outputs["probabilities"].astype(np.float64))
    return Predictions(values=outputs["label"], probabilities=predicted.probabilities)


def exported_predictions(model: bytes, features: Rows | Array) -> Predictions:
    """Return the predictions of a serialised standard graph for features, float32 [N, F].

    Raises:
        StepFailed: onnxruntime cannot load or run it.
    """
    try:
        return predict(session(model), features)
    # onnxruntime's exceptions have no common base class.
    except Exception as problem:
        raise StepFailed(f"The exported model cannot be used, so nothing is stored: {problem}") from problem


def verify(found: Predictions, expected: Predictions, scale: TargetScale | None) -> None:
    """Compare the predictions of a graph and of the trained estimator, on every row.

    Args:
        found: the graph's predictions.
        expected: the estimator's predictions for the same rows.
        scale: of the target; None for classes.

    Raises:
        StepFailed: they differ by more than rounding.
    """
    if expected.probabilities is None or found.probabilities is None:
        wrong: Array = _numbers_differ(found.values, expected.values, scale or TargetScale.of(expected.values))
    else:
        far = ~(np.abs(found.probabilities - expected.probabilities) <= TOLERANCE)  # also where one is NaN
        other_label = (found.values != expected.values) & ~_tied(expected.probabilities)
        wrong = far.any(axis=1) | other_label
    if wrong.any():
        raise StepFailed(
            f"The exported model differs from the trained one on {wrong.sum()} of {len(wrong)} held-out rows, "
            f"first on row {int(np.argmax(wrong))}, so nothing is stored; choose another modeling/model"
        )


def _numbers_differ(found: Array, expected: Array, scale: TargetScale) -> Array:
    distance = np.maximum(scale.spread, np.abs(expected - scale.center))
    close: Array = np.abs(found - expected) <= TOLERANCE * distance + 2 * np.spacing(np.abs(expected))
    return ~close  # also where one is NaN


def _number(name: str, value: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array([value]), name)


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
    former = any(node.op_type in _FORMER_OPERATORS for node in graph.node)
    ml_opset = _FORMER_ML_OPSET if former else ONNX_ML_OPSET
    versions = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ml_opset)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=ONNX_IR_VERSION)
    model.producer_name = "when_ml_pipeline_meets_hydra"
    return model


def _tied(probabilities: Array) -> Array:
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), dtype=bool)
    top = np.sort(probabilities, axis=1)
    tied: Array = top[:, -1] - top[:, -2] <= 2 * TOLERANCE
    return tied
