"""Rows with missing values, unknown categories and extreme numbers: what is served is what the trained model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml import onnx_size
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble, EnsembleParam
from when_ml_pipeline_meets_hydra.ml.models.estimator import Estimator, EstimatorParam
from when_ml_pipeline_meets_hydra.ml.models.extra_trees import ExtraTrees
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
from when_ml_pipeline_meets_hydra.ml.splits.predefined import PredefinedSplit
from when_ml_pipeline_meets_hydra.ml.training import graph
from when_ml_pipeline_meets_hydra.ml.training.param import TrainingParam
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.stages.modeling import train
from when_ml_pipeline_meets_hydra.stages.preprocessing import prepare

KINDS: list[Any] = [
    pytest.param(HistGradientBoosting(), HistGradientBoostingParam(n_estimators=40), id="hist_gradient_boosting"),
    pytest.param(LightGBM(), LightGBMParam(n_estimators=40), id="lightgbm", marks=pytest.mark.lightgbm),
    pytest.param(GradientBoosting(), TrainingParam(n_estimators=20), id="gradient_boosting"),
    pytest.param(RandomForest(), ForestParam(n_estimators=20), id="random_forest"),
    pytest.param(ExtraTrees(), ForestParam(n_estimators=20), id="extra_trees"),
    pytest.param(Linear(), LinearParam(), id="linear"),
    pytest.param(Neighbours(), NeighboursParam(), id="knn"),
    pytest.param(Estimator(), EstimatorParam(own={}), id="estimator"),
    pytest.param(Ensemble(time_limit=None), EnsembleParam(n_candidates=3, folds=2), id="ensemble"),
]
EXTRAS: list[Any] = [
    pytest.param(XGBoost(), XGBoostParam(n_estimators=40), id="xgboost", marks=pytest.mark.integration("xgboost")),
    pytest.param(CatBoost(), CatBoostParam(n_estimators=40), id="catboost", marks=pytest.mark.integration("catboost")),
]

silent = NoProgress()


def usual(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """Numbers, counts and texts, some of each missing; the target knows where ``a`` is missing."""
    a, b = rng.normal(size=rows), rng.integers(0, 9, rows)
    kind = rng.choice(["red", "green", "blue", "grey"], rows)
    y = np.abs(a) + b / 4 + (kind == "red") + 0.1 * rng.normal(size=rows)
    missing = rng.random((3, rows)) < 0.2
    y = np.where(missing[0], 3, y)
    columns = {"a": a, "b": b, "kind": kind}
    made = {
        name: [None if gone else value for value, gone in zip(values.tolist(), gaps, strict=True)]
        for (name, values), gaps in zip(columns.items(), missing, strict=True)
    }
    return {**made, "c": rng.normal(size=rows).tolist(), "y": y.tolist(), "split": ["train"] * rows}


def odd(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """Values that are missing, extreme or unknown, in any combination."""

    def drawn(*values: Any) -> list[Any]:
        return [values[k] for k in rng.integers(0, len(values), rows)]

    return {
        "a": drawn(None, 0.1, -0.7, 1e300, -1e300, 3e-320),
        "b": drawn(None, 3, 7, -(2**50), 2**50),
        "kind": drawn(None, "red", "blue", "never seen", "", " red"),
        "c": drawn(None, 0.3, -1.7e308, 5e30),  # missing nowhere else
        "y": rng.normal(size=rows).tolist(),
        "split": ["test"] * rows,
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedData]:
    """Prepared data that hold out 200 odd rows: of numbers, and of classes."""
    folder, rng = tmp_path_factory.mktemp("odd"), np.random.default_rng(3)
    rows = pl.concat([pl.DataFrame(usual(rng, 300)), pl.DataFrame(odd(rng, 200))], how="vertical_relaxed")
    high, low = pl.col("y") > 3, pl.col("y") < 2
    classes = rows.with_columns(
        pl.when(high).then(pl.lit("high")).when(low).then(pl.lit("low")).otherwise(pl.lit("middle")).alias("y")
    )
    made = {}
    for name, frame in {"numbers": rows, "classes": classes}.items():
        frame.write_parquet(folder / f"{name}.parquet")
        dataset = ParquetFile(path=folder / f"{name}.parquet", target="y")
        (folder / name).mkdir()
        split = PredefinedSplit(column="split", dataset=dataset)
        made[name] = prepare(dataset, PreparationParam(), split, out=folder / name, progress=silent)
    return made


@pytest.mark.parametrize("table", ["numbers", "classes"])
@pytest.mark.parametrize(("model", "param"), [*KINDS, *EXTRAS])
def test_what_is_served_is_what_the_trained_model_says(
    model: Any, param: Any, table: str, tables: dict[str, PreparedData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, said, verify = tables[table], list[Any](), graph.verify

    def compared(found: Any, own: Any, scale: Any) -> None:
        said.append((own, scale))
        verify(found, own, scale)

    monkeypatch.setattr(graph, "verify", compared)
    if isinstance(model, Estimator):
        model = Estimator(estimator="sklearn.svm.SVR" if table == "numbers" else "sklearn.svm.SVC")
    for name in ("model", "bundle"):
        (tmp_path / name).mkdir()
    trained = train(model, param, data, out=tmp_path / "model", progress=silent)
    bundling.build(data, trained, tmp_path / "bundle")
    rows = bundling.held_out_rows(data, trained).rows
    answers = scorer.check(tmp_path / "bundle").predict(rows)
    ((own, scale),) = said
    assert len(answers.values) == 200
    if own.probabilities is None:
        # A linear model goes on to 1e38, of which a 64-bit float has 16 digits.
        most = 1e-6 * scale.spread + 1e-12 * np.abs(own.values)
        assert (np.abs(np.array(answers.values) - own.values) <= most).all()
    else:
        assert np.abs(np.array(answers.probabilities) - own.probabilities).max() <= 1e-6


@pytest.mark.parametrize(("model", "param"), [*KINDS[:2], *EXTRAS])
def test_each_split_learns_to_which_side_missing_numbers_go(
    model: Any, param: Any, tables: dict[str, PreparedData], tmp_path: Path
) -> None:
    """Where ``a`` is missing the target is 3, whatever the other columns are: no value to fill in says that."""
    data = tables["numbers"]
    assert [data.features[flag] for _, flag in data.indicators] == ["a missing", "b missing"]
    for name in ("model", "bundle"):
        (tmp_path / name).mkdir()
    bundling.build(data, train(model, param, data, out=tmp_path / "model", progress=silent), tmp_path / "bundle")
    rows = [{"a": None, "b": b, "kind": kind, "c": 0.0} for b in range(9) for kind in ("red", "blue")]
    answers = np.array(scorer.check(tmp_path / "bundle").predict(rows).values)
    assert np.abs(answers - 3).max() < 0.75
    others = scorer.check(tmp_path / "bundle").predict([{**row, "a": 0.0} for row in rows]).values
    assert np.ptp(others) > 2 * np.ptp(answers)


def test_what_onnx_cannot_hold_is_refused_by_name(
    tables: dict[str, PreparedData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a lower limit, first before the trees are written, then of another model, then of the bundle."""
    data = tables["numbers"]
    for name in ("model", "large", "bundle"):
        (tmp_path / name).mkdir()
    trained = train(Linear(), LinearParam(), data, out=tmp_path / "model", progress=silent)
    size = (trained.path / "model.onnx").stat().st_size
    monkeypatch.setattr(onnx_size, "MOST_BYTES", size + 100)
    with pytest.raises(
        StepFailed, match=r"^The bundle of linear takes .* but an ONNX file holds at most .*; train a sm"
    ):
        bundling.build(data, trained, tmp_path / "bundle")
    trees = r"^The graph of 20 trees with [\d,]+ splits takes .* nothing is stored; fewer, .*\(m_param\.n_estimators, "
    with pytest.raises(StepFailed, match=trees):
        train(RandomForest(), ForestParam(n_estimators=20), data, out=tmp_path / "large", progress=silent)
    monkeypatch.setattr(onnx_size, "MOST_BYTES", size - 100)
    with pytest.raises(StepFailed, match=r"^The model linear takes .*; choose a smaller one"):
        train(Linear(), LinearParam(), data, out=tmp_path / "large", progress=silent)
    assert not [*(tmp_path / "large").iterdir(), *(tmp_path / "bundle").iterdir()]
