"""Numbers far from 0, in the target or in a feature: what is reported is what is served, and as good as near 0."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from sklearn.metrics import r2_score

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble, EnsembleParam
from when_ml_pipeline_meets_hydra.ml.models.extra_trees import ExtraTrees
from when_ml_pipeline_meets_hydra.ml.models.fcn import Fcn
from when_ml_pipeline_meets_hydra.ml.models.gradient_boosting import GradientBoosting
from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import (
    HistGradientBoosting,
    HistGradientBoostingParam,
)
from when_ml_pipeline_meets_hydra.ml.models.knn import Neighbours, NeighboursParam
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
from when_ml_pipeline_meets_hydra.ml.models.linear import Linear, LinearParam
from when_ml_pipeline_meets_hydra.ml.models.random_forest import ForestParam, RandomForest
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam
from when_ml_pipeline_meets_hydra.ml.splits.random import RandomSplit
from when_ml_pipeline_meets_hydra.ml.training.network_param import NetworkParam
from when_ml_pipeline_meets_hydra.ml.training.param import TrainingParam
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.stages.modeling import train
from when_ml_pipeline_meets_hydra.stages.preprocessing import prepare

OFFSETS = [1e6, 1e9, 1e12]
Data = Callable[[str, float], PreparedData]


@dataclass(frozen=True)
class Kind:
    """A model, and the hyperparameters to train it with."""

    model: Any
    param: Any


KINDS: list[Any] = [
    pytest.param(Kind(Linear(), LinearParam()), id="linear"),
    pytest.param(
        Kind(HistGradientBoosting(), HistGradientBoostingParam(n_estimators=30, folds=2)), id="hist_gradient_boosting"
    ),
    pytest.param(Kind(RandomForest(), ForestParam(n_estimators=40)), id="random_forest"),
    pytest.param(Kind(GradientBoosting(), TrainingParam(n_estimators=40)), id="gradient_boosting"),
    pytest.param(
        Kind(LightGBM(), LightGBMParam(n_estimators=40, learning_rate=0.08, num_leaves=8, patience=None)),
        id="lightgbm",
        marks=pytest.mark.lightgbm,
    ),
    pytest.param(
        Kind(Fcn(hidden_dim=16), NetworkParam(epochs=20)),
        id="fcn",
        marks=pytest.mark.integration("torch", "onnxscript"),
    ),
]
FURTHER: list[Any] = [
    pytest.param(Kind(ExtraTrees(), ForestParam(n_estimators=20)), id="extra_trees"),
    pytest.param(Kind(Neighbours(), NeighboursParam()), id="knn"),
    pytest.param(
        Kind(Ensemble(time_limit=None), EnsembleParam(n_candidates=3, folds=2)),
        id="ensemble",
        marks=pytest.mark.integration,
    ),
    pytest.param(
        Kind(XGBoost(), XGBoostParam(n_estimators=40)), id="xgboost", marks=pytest.mark.integration("xgboost")
    ),
    pytest.param(
        Kind(CatBoost(), CatBoostParam(n_estimators=40)), id="catboost", marks=pytest.mark.integration("catboost")
    ),
]

silent = NoProgress()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Prepared data of 500 rows whose target or first feature, of spread 1, is moved by an offset; prepared once.

    A negative offset moves the numbers by it and back, which rounds them as the offset does.
    """
    folder, made = tmp_path_factory.mktemp("offsets"), dict[tuple[str, float], PreparedData]()
    rng = np.random.default_rng(5)
    x, kind = rng.normal(size=(500, 3)), rng.integers(0, 3, 500)
    y = x[:, 0] + np.sin(2 * x[:, 1]) + 0.5 * kind + 0.2 * rng.normal(size=500)
    columns = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "kind": kind.astype(str), "y": y / y.std()}

    def moved(column: str, offset: float) -> PreparedData:
        if (column, offset) not in made:
            out = folder / f"{column} {offset:g}"
            out.mkdir()
            numbers = columns[column] + offset if offset >= 0 else columns[column] - offset + offset
            pl.DataFrame({**columns, column: numbers}).write_parquet(out.with_suffix(".parquet"))
            dataset = ParquetFile(path=out.with_suffix(".parquet"), target="y")
            made[column, offset] = prepare(dataset, PreparationParam(), RandomSplit(), out=out, progress=silent)
        return made[column, offset]

    return moved


def reported_and_served(kind: Kind, prepared: PreparedData, folder: Path) -> tuple[float, float]:
    """r2 on the held-out rows: as reported by training, and of what a server answers to the raw rows."""
    for name in ("model", "bundle"):
        (folder / name).mkdir(parents=True)
    trained = train(kind.model, kind.param, prepared, out=folder / "model", progress=silent)
    bundling.build(prepared, trained, folder / "bundle")
    raw = bundling.held_out_rows(prepared, trained)
    answers = scorer.check(folder / "bundle").predict(raw.rows).values
    target = pl.read_parquet(prepared.path / "test.parquet")["__target__"].to_numpy()
    assert len(answers) == prepared.rows_test
    return trained.metrics["r2"], float(r2_score(target, np.array(answers)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_changes_nothing_and_what_is_reported_is_served(kind: Kind, data: Data, tmp_path: Path) -> None:
    near, served = reported_and_served(kind, data("y", 0.0), tmp_path / "near")
    assert near > 0.4
    assert served == pytest.approx(near, abs=1e-6)
    for column in ("y", "a"):
        for offset in OFFSETS:
            reported, served = reported_and_served(kind, data(column, offset), tmp_path / f"{column} {offset:g}")
            assert served == pytest.approx(reported, abs=1e-6), (column, offset)
            assert reported == pytest.approx(near, abs=1e-3), (column, offset)
        _makes_no_other_difference(kind, column, reported, data, tmp_path)


@pytest.mark.parametrize("kind", FURTHER)
def test_the_largest_offset_rounds_numbers_and_changes_nothing_else(kind: Kind, data: Data, tmp_path: Path) -> None:
    """Rounded numbers alone can make another tree, for which equally good splits are a matter of the last digit."""
    for column in ("y", "a"):
        reported, served = reported_and_served(kind, data(column, OFFSETS[-1]), tmp_path / column)
        assert reported > 0.4
        assert served == pytest.approx(reported, abs=1e-6), column
        _makes_no_other_difference(kind, column, reported, data, tmp_path)


def _makes_no_other_difference(kind: Kind, column: str, reported: float, data: Data, folder: Path) -> None:
    """The largest offset makes no other difference than rounding: the last digit of a feature's 32-bit float.

    A target's also rounds the predictions: 64-bit floats near 1e12 are multiples of 0.0001.
    """
    rounded, _ = reported_and_served(kind, data(column, -OFFSETS[-1]), folder / f"{column} rounded")
    assert reported == pytest.approx(rounded, abs=1e-7 if column == "a" else 2e-5)  # networks compute in 32 bits


@pytest.mark.parametrize("kind", KINDS[:1])
def test_answers_are_served_as_64_bit_floats(kind: Kind, data: Data, tmp_path: Path) -> None:
    reported_and_served(kind, data("y", 1e12), tmp_path)
    loaded = scorer.load(tmp_path / "bundle")
    assert [output.datatype.value for output in loaded.manifest.outputs] == ["FP64"]
    predictions = pl.read_parquet(tmp_path / "model" / "predictions.parquet")
    assert predictions.schema["prediction"] == pl.Float64
    assert predictions["prediction"].n_unique() > 90, "32-bit floats of this size are all alike"


class Shifted(Linear):
    """Exports another model than it trained, by a tenth of the target's spread."""

    def export(self, estimator: Any, n_features: int) -> onnx.ModelProto:
        moved = copy.copy(estimator)
        moved.estimator = copy.copy(estimator.estimator)
        moved.estimator.intercept_ = estimator.estimator.intercept_ + 0.1
        return super().export(moved, n_features)


def test_another_model_is_refused_however_far_the_target_is_from_0(data: Data, tmp_path: Path) -> None:
    prepared = data("y", 1e9)
    for name in ("shifted", "model", "bundle"):
        (tmp_path / name).mkdir()
    with pytest.raises(StepFailed, match=r"differs from the trained one on 100 of 100 held-out rows"):
        train(Shifted(), LinearParam(), prepared, out=tmp_path / "shifted", progress=silent)
    trained = train(Linear(), LinearParam(), prepared, out=tmp_path / "model", progress=silent)
    recorded = tmp_path / "model" / "predictions.parquet"
    pl.read_parquet(recorded).with_columns(pl.col("prediction") + 0.1).write_parquet(recorded)
    with pytest.raises(StepFailed, match=r"row 0: .* instead of"):
        bundling.build(prepared, trained, tmp_path / "bundle")
