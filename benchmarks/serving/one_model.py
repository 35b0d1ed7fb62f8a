"""One scikit-learn pipeline in the formats of the servers: joblib, an MLflow model, ONNX, and a bundle of ours."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import polars as pl
from onnx import helper
from pydantic import TypeAdapter
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import when_ml_pipeline_meets_hydra
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
from when_ml_pipeline_meets_hydra.ml.models.sklearn_export import SklearnModel
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Summary, of_numbers, of_texts
from when_ml_pipeline_meets_hydra.ml.training.graph import standardise
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository

CARS = Path(when_ml_pipeline_meets_hydra.__file__).parent / "ml/datasets/files/cars.csv"
TARGET = "Miles_per_Gallon"
NUMBERS = ("Cylinders", "Displacement", "Horsepower", "Weight_in_lbs", "Acceleration", "Year")
TEXT = "Origin"
NAME = "mpg"


def rows() -> list[dict[str, Any]]:
    """Return all cars with a target; missing numbers are None."""
    with CARS.open(encoding="utf-8", newline="") as file:
        cars = [row for row in csv.DictReader(file) if row[TARGET]]
    kept = (*NUMBERS, TARGET)
    return [{name: float(row[name]) if row[name] else None for name in kept} | {TEXT: row[TEXT]} for row in cars]


def fitted() -> Pipeline:
    """Return a fitted pipeline: median, scaling, one-hot categories, and 200 trees of depth 3."""
    numbers = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("numbers", numbers, list(NUMBERS)), ("texts", texts, [TEXT])])
    model = GradientBoostingRegressor(n_estimators=200, max_depth=3, learning_rate=0.08, random_state=0)
    table = pd.DataFrame(rows())
    return Pipeline([("columns", columns), ("model", model)]).fit(table[[*NUMBERS, TEXT]], table[TARGET])


def write(folder: Path) -> Pipeline:
    """Write the pipeline as ``model.joblib``, ``model.onnx`` and the active version of a repository ``models`` of ours.

    Building the bundle verifies its predictions against the pipeline's.
    """
    pipeline = fitted()
    joblib.dump(pipeline, folder / "model.joblib")
    built = folder / "bundle"
    built.mkdir()
    bundling.build(_prepared(pipeline, folder / "prepared"), _trained(pipeline, folder / "trained"), built)
    shutil.copyfile(built / "model.onnx", folder / "model.onnx")
    repository = Repository(folder / "models")
    repository.activate(NAME, repository.add(NAME, built, "benchmark"), "benchmark")
    return pipeline


def _prepared(pipeline: Pipeline, folder: Path) -> PreparedData:
    folder.mkdir()
    onnx.save(_preprocessing(pipeline), folder / "preprocessing.onnx")
    table = pl.DataFrame(rows())
    table.write_parquet(folder / "holdout.parquet")
    spread = {name: of_numbers(table[name].to_numpy().astype(float)) for name in NUMBERS}
    texts = {TEXT: of_texts(table[TEXT].to_numpy().astype(object))}
    (folder / "summary.json").write_bytes(TypeAdapter(Summary).dump_json(Summary(columns=spread | texts)))
    return PreparedData(
        path=folder,
        dataset="cars",
        task=Task.REGRESSION,
        target=Column(name=TARGET, dtype=DType.FLOAT),
        classes=(),
        columns=(*(Column(name=name, dtype=DType.FLOAT) for name in NUMBERS), Column(name=TEXT, dtype=DType.STRING)),
        features=tuple(pipeline["columns"].get_feature_names_out()),
        rows_train=len(table),
        rows_test=len(table),
    )


def _preprocessing(pipeline: Pipeline) -> onnx.ModelProto:
    inputs = [(name, FloatTensorType([None, 1])) for name in NUMBERS] + [(TEXT, StringTensorType([None, 1]))]
    opsets = {"": ONNX_OPSET, "ai.onnx.ml": ONNX_ML_OPSET}
    made: onnx.ModelProto = to_onnx(pipeline["columns"], initial_types=inputs, target_opset=opsets)
    made.ir_version = ONNX_IR_VERSION
    # A bundle takes raw numbers in 64 bits.
    for node in made.graph.node:
        node.input[:] = [f"{name}_32" if name in NUMBERS else name for name in node.input]
    casts = [helper.make_node("Cast", [name], [f"{name}_32"], to=onnx.TensorProto.FLOAT) for name in NUMBERS]
    nodes = [*casts, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    for tensor in made.graph.input:
        if tensor.name in NUMBERS:
            tensor.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return made


def _trained(pipeline: Pipeline, folder: Path) -> TrainedModel:
    folder.mkdir()
    table = pd.DataFrame(rows())
    width = len(pipeline["columns"].get_feature_names_out())
    onnx.save(standardise(SklearnModel().export(pipeline["model"], width), width, None, 0), folder / "model.onnx")
    predicted: np.ndarray[Any, Any] = pipeline.predict(table[[*NUMBERS, TEXT]])
    predictions = pl.DataFrame({"target": table[TARGET].to_numpy(), "prediction": predicted})
    predictions.write_parquet(folder / "predictions.parquet")
    return TrainedModel(
        path=folder,
        model="gradient_boosting",
        task=Task.REGRESSION,
        metrics={"r2": 1.0},
        baseline={"r2": 0.0},
        spread=float(table[TARGET].std()),
    )
