"""The fitted preprocessing as an ONNX graph: raw columns in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET, Column
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import in_graph
from when_ml_pipeline_meets_hydra.ml.expressions.graph import add
from when_ml_pipeline_meets_hydra.ml.preparation.categories import Category
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted, Number
from when_ml_pipeline_meets_hydra.ml.preparation.matrix import LARGEST

FEATURES = "features"


@dataclass
class _Graph:
    """A graph under construction; its generated names begin with ``prefix``, which no column's name does."""

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Sequence[float] | float) -> str:
        return self._add(numpy_helper.from_array(np.array(values, dtype=np.float64)))

    def text(self, value: str) -> str:
        return self._add(numpy_helper.from_array(np.array(value, dtype=object)))

    def truth(self, value: bool) -> str:
        return self._add(numpy_helper.from_array(np.array(value)))

    def indices(self, count: int) -> str:
        return self._add(numpy_helper.from_array(np.arange(count, dtype=np.int64)))

    def _add(self, tensor: onnx.TensorProto) -> str:
        tensor.name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(tensor)
        return tensor.name


def build(fitted: Fitted) -> onnx.ModelProto:
    """Build the graph: one input [N, 1] per raw column, named as the column; one output [N, F] float32.

    The output is named ``features``, or ``features_`` if a column has that name, since names in a graph are unique.
    """
    names = [c.name for c in fitted.inputs]
    graph = _Graph(prefix=_unused("made/", names))
    values = [*names, *(add(graph, d.node) for d in fitted.derived)]
    output = FEATURES
    while output in names:
        output += "_"
    parts = [*_numbers(graph, fitted, values), *(_one_hot(graph, values, c) for c in fitted.categories if c.values)]
    graph.node("Concat", *parts, output=output, axis=1)
    width = len(fitted.features(()))
    proto = helper.make_graph(
        graph.nodes,
        "preprocessing",
        [_input(c) for c in fitted.inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=ONNX_IR_VERSION)
    model.producer_name = "when_ml_pipeline_meets_hydra"
    onnx.checker.check_model(model, full_check=True)
    return model


def _unused(prefix: str, names: Sequence[str]) -> str:
    while any(name.startswith(prefix) for name in names):
        prefix = f"_{prefix}"
    return prefix


def _input(column: Column) -> onnx.ValueInfoProto:
    kind = TensorProto.STRING if column.dtype.is_text else TensorProto.DOUBLE
    return helper.make_tensor_value_info(column.name, kind, ["N", 1])


def _numbers(graph: _Graph, fitted: Fitted, values: Sequence[str]) -> list[str]:
    """All numbers as one matrix, so that a request of one row needs few operators."""
    numbers = fitted.numbers
    if not numbers:
        return []
    x = _concatenated(graph, fitted, values, numbers)
    x = graph.node("Where", graph.node("IsNaN", x), graph.constant([n.fill for n in numbers]), x)
    x = graph.node("Sub", x, graph.constant([n.center for n in numbers]))
    x = graph.node("Div", x, graph.constant([n.scale for n in numbers]))
    x = graph.node("Clip", x, graph.constant(-LARGEST), graph.constant(LARGEST))
    parts = [graph.node("Cast", x, to=TensorProto.FLOAT)]
    if fitted.indicators:
        missing = graph.node("IsNaN", _concatenated(graph, fitted, values, fitted.indicators))
        parts.append(graph.node("Cast", missing, to=TensorProto.FLOAT))
    return parts


def _concatenated(graph: _Graph, fitted: Fitted, values: Sequence[str], numbers: Sequence[Number]) -> str:
    made = [
        in_graph(graph.node, graph.constant, values[n.index], fitted.columns[n.index].dtype, n.part) for n in numbers
    ]
    return graph.node("Concat", *made, axis=1)


def _one_hot(graph: _Graph, values: Sequence[str], category: Category) -> str:
    # Equal of this opset takes no strings, so their indices are compared.
    keys: dict[str, Any] = {
        "keys_strings": category.values,
        "values_int64s": range(len(category.values)),
        "default_int64": -1,
    }
    index = graph.node("LabelEncoder", values[category.index], domain="ai.onnx.ml", **keys)
    return graph.node("Cast", graph.node("Equal", index, graph.indices(len(category.values))), to=TensorProto.FLOAT)
