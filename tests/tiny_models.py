"""Prepared data and trained models by hand, small enough to know every number of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto as T
from onnx import helper as h
from pydantic import TypeAdapter

from when_ml_pipeline_meets_hydra.ml.artifacts import (
    ONNX_IR_VERSION,
    ONNX_ML_OPSET,
    ONNX_OPSET,
    Column,
    DType,
    PreparedData,
    Task,
    TrainedModel,
)
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Summary, of_numbers, of_texts

COLUMNS = (
    Column(name="weight", dtype=DType.FLOAT, description="Mass in kg"),
    Column(name="seats", dtype=DType.INT),
    Column(name="maker", dtype=DType.STRING),
    Column(name="sold", dtype=DType.BOOL),
    Column(name="built", dtype=DType.DATE),
)
FEATURES = ("weight", "seats", "maker_acme", "sold_true", "built")
FILL = {"weight": 1000.0, "seats": 4.0, "built": 0.0}
CLASSES = ("cheap", "fair", "dear")
CLASS_WEIGHTS = np.array([[0, 0, 0, 0, 0], [1, 0.1, -1, 0.5, -0.1], [2, 0.2, 1, -0.5, -0.3]], dtype=np.float32).T
ROWS = [
    {"weight": 500.0 + 100 * i, "seats": None if i % 7 == 3 else i % 5 + 1, "maker": ["acme", "bolt", None][i % 3]}
    | {"sold": [True, False, None][i % 3], "built": None if i % 5 == 4 else date(1970, 1, 1 + i % 28)}
    for i in range(30)
]


def features(row: Mapping[str, Any]) -> list[float]:
    """What the graph makes of a raw row; the weight is counted in tonnes."""
    weight = FILL["weight"] if row["weight"] is None else row["weight"]
    seats = FILL["seats"] if row["seats"] is None else row["seats"]
    days = FILL["built"] if row["built"] is None else (row["built"] - date(1970, 1, 1)).days
    return [weight / 1000, seats, float(row["maker"] == "acme"), float(row["sold"] is True), days]


def prepared(folder: Path, *, task: Task = Task.REGRESSION, rows: Sequence[Mapping[str, Any]] = ROWS) -> PreparedData:
    """Prepared data below ``folder``."""
    folder.mkdir(parents=True)
    schema = {"weight": pl.Float64, "seats": pl.Int64, "maker": pl.String, "sold": pl.Boolean, "built": pl.Date}
    pl.DataFrame([dict(row) for row in rows], schema=schema).write_parquet(folder / "holdout.parquet")
    onnx.save(_preprocessing(), folder / "preprocessing.onnx")
    (folder / "summary.json").write_bytes(TypeAdapter(Summary).dump_json(summary(rows)))
    return PreparedData(
        path=folder,
        dataset="things",
        task=task,
        target=Column(name="price", dtype=DType.FLOAT if task is Task.REGRESSION else DType.STRING),
        classes=() if task is Task.REGRESSION else CLASSES,
        columns=COLUMNS,
        features=FEATURES,
        rows_train=100,
        rows_test=len(rows),
    )


def summary(rows: Sequence[Mapping[str, Any]] = ROWS) -> Summary:
    """How the raw values of ``rows`` spread."""
    number = {name: of_numbers(np.array([_number(row[name]) for row in rows])) for name in FILL}
    texts = {name: np.array([_text(row[name]) for row in rows], dtype=object) for name in ("maker", "sold")}
    return Summary(columns=number | {name: of_texts(values) for name, values in texts.items()})


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    return float((value - date(1970, 1, 1)).days if isinstance(value, date) else value)


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def regression(folder: Path, *, slope: float = 2.0, lie: float = 0.0) -> TrainedModel:
    """Price = slope * (sum of the features) + 1; its recorded predictions are wrong by ``lie``."""
    weights = np.full((5, 1), slope)
    matrix = np.array([features(row) for row in ROWS], dtype=np.float32)
    nodes = [
        h.make_node("Cast", ["features"], ["x"], to=T.DOUBLE),
        h.make_node("MatMul", ["x", "w"], ["wx"]),
        h.make_node("Add", ["wx", "b"], ["prediction"]),
    ]
    tensors = {"w": weights, "b": np.ones(1)}
    predicted = (matrix.astype(float) @ weights + 1).reshape(-1) + lie
    table = pl.DataFrame({"target": predicted, "prediction": predicted})
    return _trained(
        folder,
        Task.REGRESSION,
        nodes,
        tensors,
        [("prediction", T.DOUBLE, ["N", 1])],
        table,
        slope,
        slope * float(matrix.sum(axis=1).std()),
    )


def classification(folder: Path) -> TrainedModel:
    """A softmax over three classes."""
    nodes = [
        h.make_node("MatMul", ["features", "w"], ["classes"]),
        h.make_node("Softmax", ["classes"], ["probabilities"], axis=1),
        h.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    scores = np.array([features(row) for row in ROWS]) @ CLASS_WEIGHTS.astype(float)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    index = probabilities.argmax(axis=1)
    table = pl.DataFrame({"target": index, "prediction": index}).with_columns(
        pl.Series(f"probability_{name}", probabilities[:, k]) for k, name in enumerate(CLASSES)
    )
    outputs: list[tuple[str, int, list[Any]]] = [("label", T.INT64, ["N"]), ("probabilities", T.FLOAT, ["N", 3])]
    return _trained(folder, Task.CLASSIFICATION, nodes, {"w": CLASS_WEIGHTS}, outputs, table, 0.9)


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A raw row as a client sends it."""
    return {key: value.isoformat() if isinstance(value, date) else value for key, value in row.items()}


def price(row: Mapping[str, Any], slope: float = 2.0) -> float:
    """What the regression answers."""
    return slope * math.fsum(features(row)) + 1


def _trained(
    folder: Path,
    task: Task,
    nodes: Sequence[onnx.NodeProto],
    tensors: Mapping[str, Any],
    outputs: Sequence[tuple[str, int, list[Any]]],
    table: pl.DataFrame,
    quality: float,
    spread: float | None = None,
) -> TrainedModel:
    folder.mkdir(parents=True)
    table.write_parquet(folder / "predictions.parquet")
    model = _model(nodes, tensors, [("features", T.FLOAT, ["N", 5])], outputs)
    onnx.save(model, folder / "model.onnx")
    metric = "r2" if task is Task.REGRESSION else "accuracy"
    return TrainedModel(
        path=folder, model="tiny", task=task, metrics={metric: quality}, baseline={metric: 0.0}, spread=spread
    )


def _preprocessing() -> onnx.ModelProto:
    nodes = []
    for name in ("weight", "seats", "built"):
        nodes.append(h.make_node("IsNaN", [name], [f"{name}_missing"]))
        nodes.append(h.make_node("Where", [f"{name}_missing", f"{name}_fill", name], [f"{name}_filled"]))
    nodes.append(h.make_node("Div", ["weight_filled", "thousand"], ["tonnes"]))
    for name, text in (("maker", "acme"), ("sold", "true")):
        key: dict[str, Any] = {"keys_strings": [text], "values_floats": [1.0], "default_float": 0.0}
        nodes.append(h.make_node("LabelEncoder", [name], [f"is_{text}"], domain="ai.onnx.ml", **key))
    parts = ["tonnes", "seats_filled", "is_acme", "is_true", "built_filled"]
    nodes += [h.make_node("Cast", [part], [f"{part}_32"], to=T.FLOAT) for part in parts]
    nodes.append(h.make_node("Concat", [f"{part}_32" for part in parts], ["features"], axis=1))
    tensors: dict[str, Any] = {f"{name}_fill": np.array([value]) for name, value in FILL.items()}
    tensors |= {"thousand": np.array([1000.0])}
    inputs = [
        (column.name, T.STRING if column.dtype in (DType.STRING, DType.BOOL) else T.DOUBLE, ["N", 1])
        for column in COLUMNS
    ]
    return _model(nodes, tensors, inputs, [("features", T.FLOAT, ["N", 5])])


def _model(
    nodes: Sequence[onnx.NodeProto],
    tensors: Mapping[str, Any],
    inputs: Sequence[tuple[str, int, list[Any]]],
    outputs: Sequence[tuple[str, int, list[Any]]],
) -> onnx.ModelProto:
    graph = h.make_graph(
        nodes,
        "tiny",
        [h.make_tensor_value_info(*value) for value in inputs],
        [h.make_tensor_value_info(*value) for value in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    versions = [h.make_opsetid("", ONNX_OPSET), h.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)]
    return h.make_model(graph, opset_imports=versions, ir_version=ONNX_IR_VERSION)
