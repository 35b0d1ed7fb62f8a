"""Graphs of scikit-learn's estimators in double precision: the first of several that predicts the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_OPSET
from when_ml_pipeline_meets_hydra.ml.models import double_graph, sklearn_trees
from when_ml_pipeline_meets_hydra.ml.models.calibrated import Calibrated
from when_ml_pipeline_meets_hydra.ml.models.double_graph import FEATURES, SCORES, Link

Array = np.ndarray[Any, Any]
_CLOSE = 1e-9  # largest difference, in the spread of the predictions
_ROWS = 64
_ML_OPSET = 3  # of skl2onnx
_Make = Callable[[Any, int], onnx.ModelProto]


class NoGraph(Exception):
    """There is no graph that predicts what an estimator predicts."""


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Return a graph whose predictions of random rows are those of a fitted estimator; see ``Model.export``.

    Raises:
        NoGraph: there is none.
    """
    rows = np.random.default_rng(0).normal(size=(_ROWS, n_features)).astype(np.float32).astype(np.float64)
    expected = _predictions(estimator, rows)
    reason = "there is no converter for it"
    for make in _makers(estimator):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = make(estimator, n_features)
            found = _run(graph, rows)
        except Exception as error:  # a converter of another kind of estimator may fail in any way
            text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            reason = reason if "shape calculator" in text or make is not _converted else text
            continue
        if found.shape != expected.shape:
            continue
        difference = float(np.max(np.abs(found - expected))) / (float(np.std(expected)) or 1.0)
        if difference <= _CLOSE:
            return graph
        if make is _converted:
            reason = f"its graph's predictions differ by {difference:.1g} of their spread"
    raise NoGraph(reason)


def _makers(estimator: Any) -> Iterator[_Make]:
    if sklearn_trees.is_known(estimator):
        yield _of_trees
    if isinstance(estimator, Calibrated):
        yield _calibrated
        return
    if hasattr(estimator, "coef_") and hasattr(estimator, "intercept_"):
        yield from (_linear, _one_against_rest)
    if hasattr(estimator, "dual_coef_") and hasattr(estimator, "support_vectors_"):
        yield _kernel
    if hasattr(estimator, "coefs_") and hasattr(estimator, "intercepts_"):
        yield _layers
    yield _converted


def _of_trees(estimator: Any, n_features: int) -> onnx.ModelProto:
    graph = sklearn_trees.to_graph(estimator, n_features)
    assert graph is not None
    return graph


def _linear(estimator: Any, n_features: int) -> onnx.ModelProto:
    """A linear function; of classes, the logistic or the softmax function of it."""
    coefficients, intercepts = _coefficients(estimator)
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SOFTMAX if coefficients.shape[1] > 1 else Link.SIGMOID
    return double_graph.linear(coefficients, intercepts, n_features, link)


def _one_against_rest(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The logistic function of each class's linear function, as parts of their sum."""
    coefficients, intercepts = _coefficients(estimator)
    nodes = [
        helper.make_node("MatMul", [FEATURES, "coefficients"], ["products"]),
        helper.make_node("Add", ["products", "intercepts"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["alone"]),
        helper.make_node("ReduceSum", ["alone", "axis"], ["total"], keepdims=1),
        helper.make_node("Div", ["alone", "total"], [SCORES]),
    ]
    tensors = {"coefficients": coefficients, "intercepts": intercepts, "axis": np.array([1])}
    return double_graph.model(nodes, tensors, n_features, Link.IDENTITY)


def _coefficients(estimator: Any) -> tuple[Array, Array]:
    coefficients = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64)).T
    intercepts = np.broadcast_to(np.ravel(np.asarray(estimator.intercept_, dtype=np.float64)), coefficients.shape[1])
    return coefficients, intercepts.copy()


def _kernel(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The sum of a kernel between the row and each support vector, as of support vector regression."""
    nodes, tensors = _of_support_vectors(estimator, SCORES)
    return double_graph.model(nodes, tensors, n_features, Link.IDENTITY)


def _calibrated(estimator: Calibrated, n_features: int) -> onnx.ModelProto:
    """A logistic regression on decision values."""
    inner = estimator.inner
    if hasattr(inner, "support_vectors_"):
        nodes, tensors = _of_support_vectors(inner, "decisions")
    else:
        coefficients, intercepts = _coefficients(inner)
        tensors = {"weights": coefficients, "intercept": intercepts}
        nodes = [
            helper.make_node("MatMul", [FEATURES, "weights"], ["sums"]),
            helper.make_node("Add", ["sums", "intercept"], ["decisions"]),
        ]
    slopes, shifts = _coefficients(estimator.logistic)
    nodes += [
        helper.make_node("MatMul", ["decisions", "slopes"], ["sloped"]),
        helper.make_node("Add", ["sloped", "shifts"], [SCORES]),
    ]
    link = Link.SOFTMAX if slopes.shape[1] > 1 else Link.SIGMOID
    return double_graph.model(nodes, {**tensors, "slopes": slopes, "shifts": shifts}, n_features, link)


def _of_support_vectors(estimator: Any, output: str) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    vectors = np.asarray(estimator.support_vectors_, dtype=np.float64)
    gamma, shift = float(getattr(estimator, "_gamma", 0.0)), float(estimator.coef0)
    tensors = {
        "vectors": vectors.T.copy(),
        "weights": _weights(estimator),
        "intercept": np.ravel(estimator.intercept_).astype(np.float64),
        **{"gamma": np.array([gamma]), "-gamma": np.array([-gamma]), "shift": np.array([shift])},
        **{"degree": np.array([float(estimator.degree)]), "axis": np.array([1]), "-2": np.array([-2.0])},
        "squares": (vectors**2).sum(axis=1),
    }
    nodes = [
        helper.make_node("MatMul", [FEATURES, "vectors"], ["products"]),
        *_KERNELS[estimator.kernel],
        helper.make_node("MatMul", ["kernel", "weights"], ["sums"]),
        helper.make_node("Add", ["sums", "intercept"], [output]),
    ]
    return nodes, tensors


def _weights(estimator: Any) -> Array:
    """The weight of each support vector, [V, 1], or for each pair of several classes, [V, pairs]."""
    dual = np.asarray(estimator.dual_coef_, dtype=np.float64)
    if len(dual) == 1:
        return dual.T.copy()
    ends = np.cumsum([0, *estimator.n_support_])
    columns = []
    for first in range(len(dual)):
        for second in range(first + 1, len(dual) + 1):
            column = np.zeros(dual.shape[1])
            for one, other in ((first, second - 1), (second, first)):
                column[ends[one] : ends[one + 1]] = dual[other, ends[one] : ends[one + 1]]
            columns.append(column)
    return np.column_stack(columns)


_SCALED = (
    helper.make_node("Mul", ["products", "gamma"], ["scaled"]),
    helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
)
_KERNELS = {
    "linear": (helper.make_node("Identity", ["products"], ["kernel"]),),
    "poly": (*_SCALED, helper.make_node("Pow", ["shifted", "degree"], ["kernel"])),
    "sigmoid": (*_SCALED, helper.make_node("Tanh", ["shifted"], ["kernel"])),
    "rbf": (
        helper.make_node("Mul", [FEATURES, FEATURES], ["squared"]),
        helper.make_node("ReduceSum", ["squared", "axis"], ["own squares"], keepdims=1),
        helper.make_node("Add", ["own squares", "squares"], ["both squares"]),
        helper.make_node("Mul", ["products", "-2"], ["twice"]),
        helper.make_node("Add", ["both squares", "twice"], ["distances"]),
        helper.make_node("Mul", ["distances", "-gamma"], ["exponents"]),
        helper.make_node("Exp", ["exponents"], ["kernel"]),
    ),
}


def _layers(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The layers of a multilayer perceptron."""
    tensors: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []
    before, last = FEATURES, len(estimator.coefs_) - 1
    operators = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}
    for k, (weights, biases) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        tensors |= {f"weights {k}": weights.astype(np.float64), f"biases {k}": biases.astype(np.float64)}
        nodes.append(helper.make_node("MatMul", [before, f"weights {k}"], [f"products {k}"]))
        sums = SCORES if k == last else f"sums {k}"
        nodes.append(helper.make_node("Add", [f"products {k}", f"biases {k}"], [sums]))
        before = f"layer {k}"
        if k < last:
            nodes.append(helper.make_node(operators[estimator.activation], [sums], [before]))
    links = {"identity": Link.IDENTITY, "logistic": Link.SIGMOID, "softmax": Link.SOFTMAX}
    return double_graph.model(nodes, tensors, n_features, links[estimator.out_activation_])


def _converted(estimator: Any, n_features: int) -> onnx.ModelProto:
    """What skl2onnx makes of it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType

    graph: onnx.ModelProto = to_onnx(
        estimator,
        initial_types=[(FEATURES, DoubleTensorType([None, n_features]))],
        options={"zipmap": False} if hasattr(estimator, "classes_") else None,
        target_opset={"": ONNX_OPSET, "ai.onnx.ml": _ML_OPSET},
    )
    return graph


def _predictions(estimator: Any, rows: Array) -> Array:
    found = estimator.predict_proba(rows) if hasattr(estimator, "classes_") else estimator.predict(rows)
    return np.asarray(found, dtype=np.float64).reshape(len(rows), -1)


def _run(graph: onnx.ModelProto, rows: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: rows})[-1]
    return np.asarray(found, dtype=np.float64).reshape(len(rows), -1)
