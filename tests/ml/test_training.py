"""Hyperparameters, metrics, and data that cannot be trained on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from prepared_tables import prepared, written
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
from when_ml_pipeline_meets_hydra.ml.models.linear import Linear, LinearParam
from when_ml_pipeline_meets_hydra.ml.training.matrices import Rows, read_split
from when_ml_pipeline_meets_hydra.ml.training.param import TrainingParam
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions, predict
from when_ml_pipeline_meets_hydra.stages.modeling import train

PARAM = TypeAdapter(TrainingParam)

silent = NoProgress()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss", "log_loss"),
        ("quantile", 0),
        ("quantile", 1),
        ("learning_rate", 0),
        ("learning_rate", 1),
        ("learning_rate", 1.5),
        ("learning_rate", "abc"),
        ("n_estimators", 0),
        ("n_estimators", 2.5),
        ("n_estimators", True),
        ("max_depth", 0),
        ("min_samples_split", 1),
        ("seed", -1),
        ("epochs", 3),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as problem:
        PARAM.validate_json(json.dumps({key: value}), strict=True)
    assert [error["loc"] for error in problem.value.errors()] == [(key,)]


@pytest.mark.parametrize(("trees", "depth"), [(1, 1), (1, 2), (2, 1)])
def test_a_model_that_can_hardly_learn_is_refused(trees: int, depth: int) -> None:
    with pytest.raises(ValidationError, match="the model is not complex enough"):
        TrainingParam(n_estimators=trees, max_depth=depth)


@pytest.mark.parametrize(("trees", "depth"), [(3, 1), (1, 3), (2, 2)])
def test_the_simplest_models_that_are_allowed(trees: int, depth: int) -> None:
    assert TrainingParam(n_estimators=trees, max_depth=depth)


def test_the_metrics_of_numbers() -> None:
    found = evaluate(np.array([1.0, 2.0, 4.0]), Predictions(values=np.array([1.0, 3.0, 2.0])))
    expected = {"r2": 1 - 5 / (14 / 3), "mae": 1.0, "rmse": (5 / 3) ** 0.5, "mape": (0 + 1 / 2 + 2 / 4) / 3}
    assert found == pytest.approx(expected)


def test_rows_that_are_all_alike_have_no_r2() -> None:
    found = evaluate(np.array([2.0, 2.0]), Predictions(values=np.array([1.0, 3.0])))
    assert found == {"mae": 1.0, "rmse": 1.0, "mape": 0.5}


def test_the_metrics_of_two_classes() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    predicted = Predictions(values=probabilities.argmax(axis=1), probabilities=probabilities)
    found = evaluate(np.array([0, 0, 1, 1]), predicted)
    assert found["accuracy"] == 0.75
    assert found["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.8]).mean())
    assert found["roc_auc"] == 1.0


def test_the_area_under_the_curve_needs_every_class() -> None:
    probabilities = np.full((4, 3), 1 / 3)
    predicted = Predictions(values=probabilities.argmax(axis=1), probabilities=probabilities)
    assert "roc_auc" not in evaluate(np.array([0, 1, 1, 0]), predicted)
    assert evaluate(np.array([0, 1, 2, 0]), predicted)["roc_auc"] == 0.5


@pytest.mark.parametrize(
    ("train_target", "test_rows", "spoil", "message"),
    [
        ([0, 0, 0, 0], 2, None, "a single class"),
        ([0, 1, 0, 1], 0, None, "The test split of table has no rows"),
        ([0, 1, 0, 1], 2, np.nan, "values that are not finite: x1"),
        ([0, 1, 0, 1], 2, np.inf, "values that are not finite: x1"),
    ],
)
def test_data_that_cannot_be_trained_on(
    train_target: list[int], test_rows: int, spoil: float | None, message: str, tmp_path: Path
) -> None:
    features = np.arange(8, dtype=float).reshape(4, 2)
    if spoil is not None:
        features[2, 1] = spoil
    rows = np.zeros((test_rows, 2))
    data = written(tmp_path / "data", features, np.array(train_target), rows, np.arange(test_rows), ("no", "yes"))
    with pytest.raises(StepFailed, match=message):
        train(Linear(), LinearParam(), data, out=tmp_path, progress=silent)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_rows_in_a_file_are_read_in_batches(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.training.matrices.BATCH", 64)
    features = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    known = read_split(written(tmp_path / "data", features, np.zeros(rows), features, np.zeros(rows)), "train")
    assert [len(batch) for batch in known.rows.batches()] == [64] * (rows // 64) + ([rows % 64] if rows % 64 else [])
    np.testing.assert_array_equal(np.concatenate(list(known.rows.batches())), features)
    np.testing.assert_array_equal(known.features, features)


def test_columns_in_a_file_are_read_as_they_are(tmp_path: Path) -> None:
    file, flags = tmp_path / "rows.parquet", [True, False]
    for numbers, wrong in (([0.5, 1.5], None), ([0.5, float("nan")], "size"), ([0.5, None], "size"), (None, None)):
        columns = {"new": flags} if numbers is None else {"new": flags, "size": numbers}
        pl.DataFrame(columns).write_parquet(file)
        rows = Rows(file=file, names=tuple(columns), count=2, where="The train split")
        if wrong:
            with pytest.raises(StepFailed, match=f"The train split has values that are not finite: {wrong}"):
                rows.frame()
        else:
            assert rows.frame().equals(pl.DataFrame(columns))


@pytest.mark.lightgbm
@pytest.mark.parametrize("classes", [(), ("a", "b"), ("a", "b", "c")])
def test_columns_make_the_same_trees_as_a_matrix(
    classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.training.matrices.BATCH", 64)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 3)).astype(np.float32)
    target = rng.integers(0, len(classes), 500) if classes else features[:, 0] + rng.normal(size=500)
    data = written(tmp_path / "data", features, target, features, target, classes)
    known, model = read_split(data, "train"), LightGBM()
    fitted = [
        model.fit(data.task, LightGBMParam(n_estimators=40), f, known.target, silent)
        for f in (known.rows, known.features)
    ]
    one = predict(fitted[0], known.rows, len(classes))
    other = predict(fitted[1], known.features, len(classes))
    np.testing.assert_array_equal(one.values, other.values)
    if one.probabilities is not None and other.probabilities is not None:
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert bool(classes) == (one.probabilities is not None)


def test_a_baseline_stands_beside_every_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 3))
    data = prepared(tmp_path / "data", features, (features[:, 0] > 0).astype(int), classes=("no", "yes"))
    result = train(Linear(), LinearParam(), data, out=tmp_path, progress=silent)
    names = {"accuracy", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc", "average_precision"}
    assert result.metrics.keys() == result.baseline.keys() == names
    assert result.baseline["roc_auc"] == 0.5
    assert "linear on held-out rows: accuracy" in capsys.readouterr().out


def test_option_classes_and_the_stage_import_no_library_for_learning() -> None:
    code = """
import sys
import when_ml_pipeline_meets_hydra.stages.modeling
from when_ml_pipeline_meets_hydra.ml.models import gradient_boosting, lightgbm, linear, random_forest
heavy = {"numpy", "polars", "sklearn", "onnx", "onnxruntime", "skl2onnx", "lightgbm", "pyarrow"}
print(*sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_lightgbm_that_is_not_installed_is_said_before_anything_runs(tmp_path: Path) -> None:
    code = """
import sys
sys.path = [place for place in sys.path if "site-packages" not in place] + [sys.argv[1]]
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
print(*LightGBM().check())
"""
    # A place with what the option class imports, and without LightGBM.
    for package in ("pydantic", "pydantic_core", "annotated_types", "typing_inspection"):
        (tmp_path / package).symlink_to(Path(sys.modules[package].__file__ or "").parent)
    extensions = Path(__import__("typing_extensions").__file__ or "")
    (tmp_path / extensions.name).symlink_to(extensions)
    package_home = Path(sys.modules["when_ml_pipeline_meets_hydra"].__file__ or "").parent
    (tmp_path / package_home.name).symlink_to(package_home)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert "needs lightgbm, which the base install leaves out" in done.stdout
    assert "pip install 'when_ml_pipeline_meets_hydra[lightgbm]'" in done.stdout
