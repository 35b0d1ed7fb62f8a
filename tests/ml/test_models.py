"""Each kind of model is trained for each task, and its ONNX graph has the same predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from pydantic import ValidationError
from sklearn import datasets, ensemble

from noted import Noted
from prepared_tables import prepared, written
from when_ml_pipeline_meets_hydra import SklearnModel, run
from when_ml_pipeline_meets_hydra.errors import Pruned, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import (
    ONNX_IR_VERSION,
    ONNX_ML_OPSET,
    ONNX_OPSET,
    PreparedData,
    TrainedModel,
)
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost
from when_ml_pipeline_meets_hydra.ml.models.extra_trees import ExtraTrees
from when_ml_pipeline_meets_hydra.ml.models.gradient_boosting import GradientBoosting
from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import HistGradientBoosting
from when_ml_pipeline_meets_hydra.ml.models.interface import Model
from when_ml_pipeline_meets_hydra.ml.models.knn import Neighbours
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM
from when_ml_pipeline_meets_hydra.ml.models.linear import Linear, LinearParam
from when_ml_pipeline_meets_hydra.ml.models.random_forest import RandomForest
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam
from when_ml_pipeline_meets_hydra.ml.splits.random import RandomSplit
from when_ml_pipeline_meets_hydra.ml.training.param import Loss, TrainingParam
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.stages.modeling import train
from when_ml_pipeline_meets_hydra.stages.preprocessing import prepare


def _of(kind: type, *marks: Any) -> Any:
    """A kind of model as a parameter; one process runs all its tests, which share what is trained."""
    return pytest.param(kind, id=kind.name, marks=[pytest.mark.xdist_group(kind.name), *marks])  # type: ignore[attr-defined]


ENSEMBLES: list[Any] = [
    *map(_of, (HistGradientBoosting, GradientBoosting, RandomForest, ExtraTrees)),
    _of(LightGBM, pytest.mark.lightgbm),
    _of(XGBoost, pytest.mark.integration("xgboost")),
    _of(CatBoost, pytest.mark.integration("catboost")),
]
MODELS: list[Any] = [_of(Linear), _of(Neighbours), *ENSEMBLES]
QUICK: dict[type, dict[str, Any]] = {
    HistGradientBoosting: {"n_estimators": 30, "learning_rate": 0.2, "folds": 2},
    GradientBoosting: {"n_estimators": 30, "learning_rate": 0.2},
    RandomForest: {"n_estimators": 30},
    ExtraTrees: {"n_estimators": 30},
    LightGBM: {"n_estimators": 30, "learning_rate": 0.2, "num_leaves": 8, "patience": 10},
    CatBoost: {"n_estimators": 30, "learning_rate": 0.2, "folds": 2, "patience": 10},
    XGBoost: {"n_estimators": 30, "learning_rate": 0.2, "folds": 2, "patience": 10},
    Linear: {},
    Neighbours: {},
}
CANNOT: dict[type, tuple[Loss, ...]] = {
    HistGradientBoosting: (Loss.HUBER,),
    RandomForest: (Loss.HUBER, Loss.QUANTILE),
    ExtraTrees: (Loss.HUBER, Loss.QUANTILE),
}
TABLES: dict[str, Callable[[], tuple[Any, Any, tuple[str, ...]]]] = {
    "numbers": lambda: (*datasets.load_diabetes(return_X_y=True), ()),
    "two classes": lambda: (*datasets.load_breast_cancer(return_X_y=True), ("malignant", "benign")),
    "three classes": lambda: (*datasets.load_wine(return_X_y=True), ("a", "b", "c")),
}
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")

silent = NoProgress()


def quick(kind: Any, **values: Any) -> Any:
    """Hyperparameters of a kind of model with which it trains quickly."""
    takes = getattr(kind, "takes", TrainingParam)
    known = {name: value for name, value in values.items() if name in takes.__dataclass_fields__}
    return takes(**{**QUICK.get(kind, {}), **known})


def trained(model: Model, data: PreparedData, out: Path, **values: Any) -> TrainedModel:
    out.mkdir()
    return train(model, quick(type(model), **values), data, out=out, progress=silent)


@dataclass(frozen=True, eq=False)
class Once:
    """What is trained once on each table, for all tests of a process that only read it."""

    folder: Path

    @cache  # noqa: B019
    def data(self, table: str) -> PreparedData:
        features, target, classes = TABLES[table]()
        return prepared(self.folder / table, features, target, classes=classes)

    @cache  # noqa: B019
    def trained(self, kind: type[Model], table: str) -> tuple[TrainedModel, Noted]:
        """A trained model, and what was reported while it was trained."""
        out, seen = self.folder / f"{kind.name} {table}", Noted()
        out.mkdir()
        return train(kind(), quick(kind), self.data(table), out=out, progress=seen), seen


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    return Once(tmp_path_factory.mktemp("once"))


def held_out(data: PreparedData) -> Any:
    return pl.read_parquet(data.path / "test.parquet").select(data.features).to_numpy().astype(np.float32)


def answers(result: TrainedModel, data: PreparedData) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(result.path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": held_out(data)}), strict=True))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", MODELS)
def test_the_graph_predicts_what_is_recorded(kind: type[Model], table: str, once: Once) -> None:
    data, (result, _) = once.data(table), once.trained(kind, table)
    classes = data.classes
    recorded = pl.read_parquet(result.path / "predictions.parquet")
    found = answers(result, data)
    if not classes:
        assert found["prediction"].shape == (data.rows_test, 1)
        assert found["prediction"].dtype == np.float64
        np.testing.assert_allclose(found["prediction"][:, 0], recorded["prediction"], rtol=1e-12)
        assert result.metrics["r2"] > 0.3 > 0.1 > result.baseline["r2"]
        return
    assert found["label"].dtype == np.int64
    assert found["label"].tolist() == recorded["prediction"].to_list()
    probabilities = recorded.select(f"probability_{name}" for name in classes).to_numpy()
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-7)
    assert result.metrics["accuracy"] > 0.9 > 0.7 > result.baseline["accuracy"]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_graph_is_laid_out_as_promised(kind: type[Model], task: str, once: Once) -> None:
    result, _ = once.trained(kind, "numbers" if task == "regression" else "two classes")
    graph = onnx.load(result.path / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert [value.name for value in graph.graph.input] == ["features"]
    expected = ["prediction"] if task == "regression" else ["label", "probabilities"]
    assert [value.name for value in graph.graph.output] == expected
    assert {entry.domain: entry.version for entry in graph.opset_import} == {
        "": ONNX_OPSET,
        "ai.onnx.ml": ONNX_ML_OPSET,
    }
    assert graph.ir_version == ONNX_IR_VERSION
    steps = (
        {"history.json"}
        if kind in (HistGradientBoosting, GradientBoosting, LightGBM, XGBoost, CatBoost)
        else set[str]()
    )
    files = {file.name for file in result.path.iterdir()}
    assert files == {"metrics.json", "model.onnx", "predictions.parquet"} | steps
    written_metrics = json.loads((result.path / "metrics.json").read_text())
    assert written_metrics == {"metrics": dict(result.metrics), "baseline": dict(result.baseline)}


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_inputs_give_the_same_bytes(kind: type[Model], once: Once, tmp_path: Path) -> None:
    first, _ = once.trained(kind, "three classes")
    second = trained(kind(), once.data("three classes"), tmp_path / "second")
    for name in ("model.onnx", "metrics.json", "predictions.parquet"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_another_seed_gives_another_ensemble(kind: type[Model], once: Once, tmp_path: Path) -> None:
    one, _ = once.trained(kind, "numbers")
    other = trained(kind(), once.data("numbers"), tmp_path / "other", seed=1)
    assert one.metrics != other.metrics


@pytest.mark.parametrize("kind", MODELS)
def test_a_single_feature_is_enough(kind: type[Model], tmp_path: Path) -> None:
    numbers = np.linspace(0, 3, 200).reshape(-1, 1)
    result = trained(kind(), prepared(tmp_path / "data", numbers, 2 * numbers[:, 0] + 1), tmp_path / "out")
    assert result.metrics["r2"] > 0.9


@pytest.mark.parametrize("kind", MODELS)
def test_a_class_that_training_never_saw_keeps_its_place(kind: type[Model], tmp_path: Path) -> None:
    features, target, _ = TABLES["three classes"]()
    shifted = target + (target > 0)  # 0, 2, 3: nobody is "b"
    data = prepared(tmp_path / "data", features, shifted, classes=("a", "b", "c", "d"))
    result = trained(kind(), data, tmp_path / "out")
    found = answers(result, data)
    assert set(found["label"].tolist()) == {0, 2, 3}
    assert found["probabilities"].shape[1] == 4
    assert not found["probabilities"][:, 1].any()
    assert "roc_auc" not in result.metrics
    assert result.metrics["accuracy"] > 0.9


@pytest.mark.parametrize("kind", MODELS)
def test_values_on_a_threshold_take_the_same_branch(kind: type[Model], tmp_path: Path) -> None:
    """Thresholds are between two adjacent 32-bit numbers, and every held-out row is one of the two."""
    below = np.float32(1) + np.arange(40, dtype=np.float32) * np.float32(2**-23)
    features = np.concatenate([below, below]).reshape(-1, 1)
    target = np.concatenate([np.arange(40) % 7, np.arange(40) % 7]).astype(float) * 10
    data = written(tmp_path / "data", features, target, features, target)
    assert trained(kind(), data, tmp_path / "out", n_estimators=60, min_samples_split=2, max_depth=9)


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("kind", MODELS)
def test_each_loss_finds_the_middle(kind: type[Model], loss: Loss, once: Once, tmp_path: Path) -> None:
    if loss in CANNOT.get(kind, ()):
        with pytest.raises(ValidationError, match=r"Input should be 'squared_error'(, | or )'absolute_error'"):
            quick(kind, loss=loss.value)
        return
    result = trained(kind(), once.data("numbers"), tmp_path / "out", loss=loss.value)
    assert result.metrics["mae"] < 0.85 * result.baseline["mae"]


@pytest.mark.parametrize("quantile", [0.1, 0.9])
@pytest.mark.parametrize("kind", [m for m in MODELS if m.id not in ("random_forest", "extra_trees", "knn")])
def test_a_quantile_leaves_its_part_of_the_rows_below(kind: type[Model], quantile: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, size=(1000, 2))
    data = prepared(tmp_path / "data", features, 3 * features[:, 0] + rng.normal(size=1000), test_part=0.5)
    result = trained(kind(), data, tmp_path / "out", n_estimators=60, loss="quantile", quantile=quantile)
    table = pl.read_parquet(result.path / "predictions.parquet")
    assert (table["target"] < table["prediction"]).mean() == pytest.approx(quantile, abs=0.08)


@pytest.mark.parametrize("kind", MODELS)
def test_progress_ends_where_the_work_ends(kind: type[Model], once: Once) -> None:
    seen = [(done, total) for done, total, _ in once.trained(kind, "numbers")[1].work]
    assert seen == sorted(seen)
    # Two starts in each of two folds; 30 trees in each of three folds and then of all rows.
    work = {Linear: 1, Neighbours: 1, HistGradientBoosting: 2 * 2, LightGBM: 4 * 30, XGBoost: 2 * 30, CatBoost: 2 * 30}
    assert seen[-1] == (work.get(kind, 30), work.get(kind, 30))


# The steps at which kinds have partial scores: their folds, or trees of the first one and 30 of each that follows.
TREES = [*range(1, 11), 20]
REPORTED: dict[type[Model], list[int]] = {
    HistGradientBoosting: [1, 2],
    LightGBM: [*TREES, 60, 90],
    XGBoost: [*TREES, 60],
    CatBoost: [*TREES, 60],
}


@pytest.mark.parametrize("kind", MODELS)
def test_partial_scores_are_those_of_rows_that_training_holds_out(
    kind: type[Model], once: Once, tmp_path: Path
) -> None:
    trained, seen = once.trained(kind, "numbers")
    assert [step for step, _ in seen.scores if step != 30] == REPORTED.get(kind, [])
    if not seen.scores:
        return
    spread = trained.spread or 0.0
    for _, metrics in seen.scores:
        assert metrics["rmse"] == pytest.approx(spread * (1 - metrics["r2"]) ** 0.5)
    first, last = seen.scores[0][1]["r2"], seen.scores[-1][1]["r2"]
    assert last == pytest.approx(trained.metrics["r2"], abs=0.1)
    assert first < last or kind is HistGradientBoosting
    of_classes = once.trained(kind, "three classes")
    assert of_classes[1].scores[-1][1] == {"log_loss": pytest.approx(of_classes[0].metrics["log_loss"], abs=0.25)}
    data, stopped, out = once.data("numbers"), Noted(last=2), tmp_path / "out"
    out.mkdir()
    with pytest.raises(Pruned):
        train(kind(), quick(kind), data, out=out, progress=stopped)
    assert stopped.scores == seen.scores[:2]
    assert [*out.iterdir()] == []


class Exporting:
    """A model whose exported graph differs from the trained estimator."""

    name = "wrong"
    takes = LinearParam

    def __init__(self, change: Callable[[onnx.ModelProto], None]) -> None:
        self._inner, self._change = Linear(), change

    def fit(self, *arguments: Any) -> Any:
        return self._inner.fit(*arguments)

    def export(self, estimator: Any, n_features: int) -> onnx.ModelProto:
        graph = self._inner.export(estimator, n_features)
        self._change(graph)
        return graph


def _shift(graph: onnx.ModelProto, by: float) -> None:
    (intercepts,) = (tensor for tensor in graph.graph.initializer if tensor.name == "intercepts")
    shifted = onnx.numpy_helper.to_array(intercepts).copy()
    shifted[0] += by
    intercepts.CopyFrom(onnx.numpy_helper.from_array(shifted, intercepts.name))


@pytest.mark.parametrize("table", ["numbers", "three classes"])
def test_a_graph_that_is_another_model_is_refused(table: str, once: Once, tmp_path: Path) -> None:
    data = once.data(table)
    by = 0.1 if not data.classes else 0.01
    with pytest.raises(StepFailed, match=r"differs from the trained one on \d+ of \d+ held-out rows"):
        trained(Exporting(lambda graph: _shift(graph, by)), data, tmp_path / "out", alpha=1.0, knots=0)
    assert not list((tmp_path / "out").iterdir())


def test_a_graph_that_onnxruntime_refuses_is_refused(once: Once, tmp_path: Path) -> None:
    def break_it(graph: onnx.ModelProto) -> None:
        graph.graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(StepFailed, match="exported model cannot be used"):
        trained(Exporting(break_it), once.data("numbers"), tmp_path / "out", alpha=1.0, knots=0)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.lightgbm
def test_lightgbm_has_nothing_to_complain_about_where_it_is_installed() -> None:
    assert not list(LightGBM().check())


def test_rare_classes_do_not_make_boosting_diverge() -> None:
    """A row with a predicted probability of 0 would cause an unbounded step, which ONNX cannot store."""
    values = ["m_param.learning_rate=0.1", "m_param.max_depth=4", "m_param.min_samples_split=5"]
    choices = ["modeling/model=gradient_boosting", "preprocessing/dataset=planes", "split.seed=1"]
    done = run(["c=modeling", *choices, *values])
    model = done.artifact("modeling")
    assert isinstance(model, TrainedModel)
    assert model.metrics["log_loss"] < model.baseline["log_loss"]


@pytest.mark.parametrize("kind", MODELS)
def test_features_that_say_nothing_give_a_model_that_says_one_thing(kind: type[Model], tmp_path: Path) -> None:
    """Trees of a single leaf, which not every exporter expects."""
    rng = np.random.default_rng(0)
    features = np.zeros((60, 2))
    result = trained(kind(), prepared(tmp_path / "data", features, rng.normal(size=60)), tmp_path / "out")
    assert np.ptp(pl.read_parquet(result.path / "predictions.parquet")["prediction"].to_numpy()) == 0


class Bagged(SklearnModel):
    """An ensemble for which there is no exporter of our own."""

    name = "bagged"

    def fit(self, task: Any, m_param: TrainingParam, features: Any, target: Any, progress: Any) -> Any:
        return ensemble.BaggingRegressor(random_state=0).fit(features, target)


def test_operators_for_trees_of_other_exporters_are_bundled_too(tmp_path: Path) -> None:
    """They are not in ai.onnx.ml 5; the merged graph is of the version that has them."""
    frame = pl.DataFrame({"x": range(200), "kind": ["a", "b"] * 100, "y": [1e6 + (k % 13) / 7 for k in range(200)]})
    frame.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "data").mkdir()
    dataset = ParquetFile(path=tmp_path / "rows.parquet", target="y")
    data = prepare(dataset, PreparationParam(), RandomSplit(), out=tmp_path / "data", progress=silent)
    result = trained(Bagged(), data, tmp_path / "out")
    (tmp_path / "bundle").mkdir()
    bundling.build(data, result, tmp_path / "bundle")
    assert scorer.check(tmp_path / "bundle").predict([{"x": 3, "kind": "a"}]).values[0] == pytest.approx(1e6, abs=2)
    operators = {node.op_type for node in onnx.load(tmp_path / "bundle" / "model.onnx").graph.node}
    assert "TreeEnsembleRegressor" in operators
