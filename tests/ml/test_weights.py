"""Weights of rows and classes: in training, in metrics, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble, EnsembleParam
from when_ml_pipeline_meets_hydra.ml.models.estimator import Estimator, EstimatorParam
from when_ml_pipeline_meets_hydra.ml.models.extra_trees import ExtraTrees
from when_ml_pipeline_meets_hydra.ml.models.gradient_boosting import GradientBoosting
from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import (
    HistGradientBoosting,
    HistGradientBoostingParam,
)
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
from when_ml_pipeline_meets_hydra.ml.models.linear import Linear, LinearParam
from when_ml_pipeline_meets_hydra.ml.models.linear_start import shares
from when_ml_pipeline_meets_hydra.ml.models.random_forest import ForestParam, RandomForest
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam
from when_ml_pipeline_meets_hydra.ml.training.class_weights import row_weights
from when_ml_pipeline_meets_hydra.ml.training.param import Loss, TrainingParam
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions
from when_ml_pipeline_meets_hydra.pipeline import prepare, run

RNG = np.random.default_rng(0)
X = RNG.normal(size=120)
# Two lines; the rows of the second one hardly count.
IS_SECOND = np.arange(120) % 3 == 0
ROWS = pl.DataFrame(
    {
        "x": X,
        "y": np.where(IS_SECOND, -5 * X, 2 * X),
        "kind": np.where(RNG.normal(size=120) + X > 1.2, "rare", "usual"),
        "exposure": np.where(IS_SECOND, 0.001, 2.0),
    }
)


def _log(artifact: Any) -> str:
    """What the step of an artifact printed."""
    return str((artifact.path.parent / "log.txt").read_text())


silent = NoProgress()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rows")
    ROWS.write_csv(found / "rows.csv")
    return found


def words(folder: Path, target: str, *more: str) -> list[str]:
    rest = {"y": "kind", "kind": "y"}[target]
    data = ("preprocessing/dataset=csv", f"dataset.path={folder / 'rows.csv'}", f"dataset.target={target}")
    return [*data, f"dataset.exclude=[{rest}]", "modeling/model=linear", "m_param.knots=0", *more]


def test_weighted_rows_count_in_training_and_metrics_and_need_no_weight_to_be_predicted(
    folder: Path,
) -> None:
    asked = words(folder, "y", "dataset.weight=exposure", "c=prediction")
    data: Any = (done := run(asked)).artifact("preprocessing")
    assert (data.weight, [c.name for c in data.columns]) == ("exposure", ["x"]), "a weight is no feature"
    assert pl.read_parquet(data.path / "train.parquet").columns == ["x", "__target__", "__weight__"]
    model: Any = done.artifact("modeling")
    predicted = pl.read_parquet(model.path / "predictions.parquet")
    target, values, weight = (predicted[c].to_numpy() for c in ("target", "prediction", "weight"))
    expected = np.sqrt(np.average((target - values) ** 2, weights=weight))
    assert model.metrics["rmse"] == pytest.approx(expected)
    assert model.metrics["r2"] > 0.99, "without weights it is not half of it"
    assert evaluate(target, Predictions(values=values))["r2"] < 0.5
    predictions: Any = done.artifact("prediction")
    assert predictions.scores == pytest.approx(model.metrics), "of the served graph, and weighted alike"
    assert "rows: rows weighted by exposure, in training and in metrics" in _log(data)

    ROWS.select("x", "y").write_csv(folder / "new.csv")
    ROWS.write_csv(folder / "weighted.csv")
    for name in ("new", "weighted"):
        new = [*asked, "prediction/rows=csv", f"new_rows.path={folder / f'{name}.csv'}"]
        scores: Any = run(new).artifact("prediction")
        assert (scores.scores["r2"] > 0.99) == (name == "weighted"), "where rows have weights, metrics are weighted"
    named = ROWS.rename({"exposure": "other"})
    named.with_columns(pl.when(pl.col("x") == X[4]).then(0.0).otherwise("other").alias("bad")).write_csv(
        folder / "weighted.csv"
    )
    log = _log(run([*new, "new_rows.weight=other"]).artifact("prediction"))
    assert ", weighted by other" in log
    assert "weighted by" not in _log(run(new).artifact("prediction")), "there is no column exposure"
    for column, message in (
        ("bad", "row 5 of the column 'bad' is '0.0'; weights are positive"),
        ("x", "the model reads this column as a feature"),
        ("y", "this is the column to predict"),
        ("othr", "there is no such column in the data"),
    ):
        refused = inside(*new, f"new_rows.weight={column}")
        assert (refused.code, f"new_rows.weight={column}: {message}" in refused.err) == (2, True), refused.err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * 59 + [0.0] + [-1.0] * 60, "row 60 of the column 'w' is '0.0' (and 60 more); weights are positive"),
        ([1.0] * 3 + [None] + [1.0] * 116, "row 4 of the column 'w' is missing; weights are positive"),
        (["1"] * 3 + ["x"] + ["1"] * 116, "row 4 of the column 'w' is 'x'; weights are positive"),
        (["1"] * 3 + ["inf"] + ["1"] * 116, "row 4 of the column 'w' is 'inf'; weights are positive"),
        ([1.0] * 3 + [1e200] + [1.0] * 116, "row 4 of the column 'w' is '1e+200'; weights are positive"),
        (["2024-01-01"] * 120, "row 1 of the column 'w' is '2024-01-01' (and 119 more); weights are positive"),
        (None, "there is no such column in the data"),
    ],
)
def test_weights_that_are_no_positive_numbers_are_refused(
    values: Sequence[Any] | None, message: str, folder: Path
) -> None:
    rows = ROWS.drop("exposure")
    (rows if values is None else rows.with_columns(w=pl.Series(values))).write_csv(folder / "wrong.csv")
    done = inside("c=modeling", *words(folder, "y", "dataset.weight=w", f"dataset.path={folder / 'wrong.csv'}"))
    assert done.code == 2
    assert "dataset.weight" in done.err
    assert message in done.err


def test_a_weight_of_a_row_without_target_does_not_matter(folder: Path) -> None:
    nulls = pl.when(pl.col("x") == X[7]).then(None)
    rows = ROWS.with_columns(y=nulls.otherwise("y"), exposure=nulls.otherwise("exposure"))
    rows.write_parquet(folder / "rows.parquet")
    asked = words(folder, "y", "preprocessing/dataset=parquet", f"dataset.path={folder / 'rows.parquet'}")
    asked += ["c=preprocessing", "dataset.weight=exposure", '+dataset.features.bent="x * x"']
    data: Any = run(asked).artifact("preprocessing")
    assert data.rows_train + data.rows_test == 119
    assert list(data.features) == ["x", "bent"]
    done = inside(*asked, '+dataset.features.each="x / exposure"')
    assert (done.code, "dataset.features.each" in done.err) == (2, True)
    assert "it reads 'exposure', the weights of the rows (dataset.weight), which new rows need not have" in done.err
    rows.with_columns(exposure=pl.concat_list("x", "y")).write_parquet(folder / "rows.parquet")
    done = inside(*asked)
    assert (done.code, "its values are of type List(Float64), and weights are positive" in done.err) == (2, True)
    done = inside(*words(folder, "y", "dataset.weight=y"), "c=modeling")
    assert (done.code, "dataset.weight=y: this is the column to predict" in done.err) == (2, True)


@pytest.mark.integration
def test_the_weights_of_a_table_in_a_database_need_not_be_in_its_schema_nor_in_rows_to_predict(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rows.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE lines (x REAL, y REAL, exposure REAL)")
        database.executemany("INSERT INTO lines VALUES (?, ?, ?)", ROWS.select("x", "y", "exposure").iter_rows())
        database.execute("CREATE TABLE fresh AS SELECT x FROM lines")
    asked = [
        *("c=prediction", "preprocessing/dataset=table", f"connection.path={file}", "modeling/model=linear"),
        *("dataset.table=lines", "schema.name=lines", "schema.target={name:y,dtype:float}", "m_param.knots=0"),
        *("prediction/rows=data_set", "preprocessing/dataset@new_rows=table", "new_rows.name=new"),
    ]
    for features in ("[{name:x,dtype:float}]", "[{name:x,dtype:float},{name:exposure,dtype:float}]"):
        words = [*asked, f"schema.features={features}", "dataset.weight=exposure"]
        weighted = run([*words, "new_rows.table=lines", "new_rows.weight=exposure"])
        data: Any = weighted.artifact("preprocessing")
        assert ([c.name for c in data.columns], data.weight) == (["x"], "exposure")
        assert weighted.metrics["modeling.r2"] > 0.99
        assert weighted.metrics["prediction.r2"] > 0.99
        if "exposure" not in features:
            done = inside(*words, "new_rows.table=fresh")
            assert "linear on new: 120 rows predicted\n" in done.out, done.err
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE untyped AS SELECT x, y, CASE WHEN x > 1 THEN -x ELSE 1 END AS exposure FROM lines"
        )
        database.execute("CREATE TABLE typed (x REAL, y REAL, exposure REAL)")
        database.execute("INSERT INTO typed SELECT * FROM untyped")
    for more, message in (
        (("dataset.weight=weigth",), "dataset.weight=weigth: there is no such column in the data"),
        (("dataset.weight=y",), "weight: y is the column to predict"),
        (("dataset.weight=exposure", "dataset.table=untyped"), "dataset.weight=exposure: the column 'exposure' is '-"),
        (("dataset.weight=exposure", "dataset.table=typed"), "dataset.weight=exposure: the column 'exposure' is '-"),
    ):
        done = inside(*asked, "schema.features=[{name:x,dtype:float}]", "new_rows.table=lines", *more)
        assert (done.code, message in done.err, "Nothing ran" in done.err) == (2, True, True), done.err


@frozen
class Unweighted:
    """A model whose training knows no weights."""

    name: str = "unweighted"

    def fit(self, task: Task, m_param: TrainingParam, features: Any, target: Any, progress: Any) -> Any:
        """Never called."""

    def export(self, estimator: Any, n_features: int) -> Any:
        """Never called."""


def test_a_model_that_cannot_weight_rows_is_refused_before_anything_runs(folder: Path) -> None:
    own = (f"model._target_={__name__}.Unweighted", "modeling/model=gradient_boosting", "~model.subsample")
    for key in ("dataset.weight=exposure", "class_weight=balanced"):
        asked = [
            w for w in words(folder, "kind", *own, "~model.max_features") if "knots" not in w and "linear" not in w
        ]
        done = inside("c=modeling", *asked, key, f"packages=[{__name__}]")
        assert done.code == 2, done.err
        assert "the model gradient_boosting cannot weight rows" in done.err
        assert key.partition("=")[0] in done.err
    lars = ("modeling/model=estimator", "estimator=sklearn.linear_model.Lars")
    refused: list[tuple[tuple[str, ...], str]] = [
        (("modeling/model=knn",), "the model knn cannot weight rows"),
        (lars, "the estimator of the model estimator cannot weight rows"),
    ]
    for chosen, message in refused:
        asked = [w for w in words(folder, "y", *chosen) if "knots" not in w and w != "modeling/model=linear"]
        done = inside("c=modeling", *asked, "dataset.weight=exposure")
        assert (done.code, message in done.err) == (2, True), done.err


@pytest.mark.integration
def test_an_ensemble_leaves_out_what_cannot_weight_rows_and_says_so() -> None:
    features, weights = RNG.normal(size=(120, 2)).astype(np.float32), np.where(IS_SECOND, 0.01, 1.0)
    target = np.where(IS_SECOND, -3, 1) * features[:, 0]
    model, param = Ensemble(time_limit=None), EnsembleParam(n_candidates=11, folds=2)
    fitted: Any = model.fit(Task.REGRESSION, param, features, target, silent, sample_weight=weights / weights.mean())
    assert {"knn"}.isdisjoint(member["model"] for member in fitted.members_)
    assert "cannot weight rows: knn" in fitted.summary_
    fitted = model.fit(Task.REGRESSION, EnsembleParam(n_candidates=2, folds=2), features, target, silent)
    assert "cannot weight" not in fitted.summary_


def test_classes_are_balanced_or_weighted(folder: Path) -> None:
    found = {}
    for weights in ("null", "balanced", "{rare: 50}"):
        model: Any = run(["c=modeling", *words(folder, "kind", f"class_weight={weights}")]).artifact("modeling")
        predicted = pl.read_parquet(model.path / "predictions.parquet")
        found[weights] = int((predicted["prediction"] == 0).sum())  # of the class rare
        assert "weight" not in predicted.columns, "the metrics are not weighted"
    assert found["null"] < found["balanced"] < found["{rare: 50}"]
    ROWS.with_columns(kind=(pl.col("kind") == "rare").cast(pl.Int8)).write_csv(folder / "numbers.csv")
    asked = words(folder, "kind", f"dataset.path={folder / 'numbers.csv'}", "class_weight={1: 50}")
    model = run(["c=modeling", *asked, "modeling/threshold=given", "threshold.value=0.5", "threshold.positive=1"])
    rows = pl.read_parquet(model.artifact("modeling").path / "predictions.parquet")
    assert int((rows["prediction"] == 1).sum()) == found["{rare: 50}"], "classes that are numbers"


@pytest.mark.integration
def test_models_are_compared_only_where_their_rows_count_the_same(folder: Path) -> None:
    asked = words(folder, "y", "dataset.weight=null,exposure", "objective.metric=rmse", "modeling/validation=holdout")
    done = run(["c=modeling", *asked], multirun=True)
    titles = [o.step.call.title for o in done.outcomes if str(o.status) != "not chosen"]
    assert titles.count("modeling train") == 2, "the best one of each"


def test_weights_of_unknown_classes_and_of_numbers_are_refused(folder: Path) -> None:
    for target, value, expected in (
        ("kind", "{rara: 2}", "class_weight.rara: the target has no such class"),
        ("kind", "{rare: 0}", "class_weight.rare"),
        ("kind", "heavy", "class_weight"),
        ("y", "balanced", "class_weight: the target holds numbers, which have no classes"),
    ):
        done = inside("c=modeling", *words(folder, target, f"class_weight={value}"))
        assert (done.code, expected in done.err) == (2, True), done.err
        assert "Nothing ran" in done.err


def test_the_weights_of_rows_and_classes_are_multiplied() -> None:
    target, own = np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 2.0, 4.0])
    balanced = row_weights(target, ("a", "b"), own, "balanced")
    assert balanced is not None
    assert balanced[:3].sum() == pytest.approx(balanced[3])
    assert balanced.mean() == pytest.approx(1)
    assert row_weights(target, ("a", "b"), None, {"b": 3.0}) == pytest.approx(np.array([1, 1, 1, 3]) / 1.5)
    assert row_weights(target, ("a", "b"), None, None) is None


@dataclass(frozen=True)
class Case:
    """A model and its hyperparameters."""

    model: Any
    param: Any

    def __str__(self) -> str:
        kind = getattr(self.model, "estimator", self.model.name)
        return f"{kind} {getattr(self.param, 'folds', '')}{getattr(self.param, 'loss', '')}"


def _of_kind(model: Any, kind: str) -> Any:
    """The model; of an estimator that for numbers (R) or classes (C): ``LinearSVR`` of ``LinearSV``."""
    if not isinstance(model, Estimator):
        return model
    ends = {"sklearn.svm.LinearSV": kind}.get(str(model.estimator), {"R": "Regressor", "C": "Classifier"}[kind])
    return replace(model, estimator=f"{model.estimator}{ends}")


@pytest.mark.parametrize(
    "case",
    [
        Case(Linear(), LinearParam(alpha=1e-3, knots=0)),
        Case(Linear(), LinearParam(loss=Loss.QUANTILE, alpha=1e-6)),
        Case(GradientBoosting(subsample=1.0, max_features=1.0), TrainingParam(n_estimators=5)),
        Case(RandomForest(max_features=1.0), ForestParam(n_estimators=5)),
        Case(ExtraTrees(max_features=1.0), ForestParam(n_estimators=9, min_samples_leaf=9)),
        Case(HistGradientBoosting(), HistGradientBoostingParam(patience=None, n_estimators=20)),
        Case(HistGradientBoosting(), HistGradientBoostingParam(folds=2, n_estimators=20)),
        pytest.param(
            Case(Ensemble(time_limit=None), EnsembleParam(n_candidates=2, folds=2)), marks=pytest.mark.integration
        ),
        Case(Estimator(estimator="sklearn.tree.DecisionTree"), EstimatorParam(own={"min_weight_fraction_leaf": 0.02})),
        Case(Estimator(estimator="sklearn.svm.LinearSV"), EstimatorParam(own={})),
        pytest.param(Case(LightGBM(), LightGBMParam(n_estimators=20, folds=2)), marks=pytest.mark.lightgbm),
        pytest.param(Case(XGBoost(), XGBoostParam(n_estimators=50)), marks=pytest.mark.integration("xgboost")),
        pytest.param(
            Case(XGBoost(), XGBoostParam(n_estimators=50, loss=Loss.HUBER, folds=1)),
            marks=pytest.mark.integration("xgboost"),
        ),
        pytest.param(Case(CatBoost(), CatBoostParam(n_estimators=50)), marks=pytest.mark.integration("catboost")),
        pytest.param(
            Case(CatBoost(), CatBoostParam(n_estimators=50, loss=Loss.QUANTILE, patience=None)),
            marks=pytest.mark.integration("catboost"),
        ),
    ],
    ids=str,
)
def test_every_model_leaves_rows_out_that_hardly_count(case: Case) -> None:
    features = np.column_stack((X, RNG.normal(size=120))).astype(np.float32)
    weights = np.where(IS_SECOND, 1e-6, 1.0)
    # Beside the feature, some rows say the opposite of all others.
    number, label = np.where(IS_SECOND, -3 * X, X), ((X > 0) ^ IS_SECOND).astype(np.int64)
    fitted = _of_kind(case.model, "R").fit(
        Task.REGRESSION, case.param, features, number, silent, sample_weight=weights / weights.mean()
    )
    assert np.corrcoef(fitted.predict(features).ravel()[~IS_SECOND], X[~IS_SECOND])[0, 1] > 0.9
    fitted = _of_kind(case.model, "C").fit(
        Task.CLASSIFICATION, case.param, features, label, silent, sample_weight=weights / weights.mean()
    )
    likely = fitted.predict_proba(features)[:, 1] > 0.5
    assert (likely[~IS_SECOND] == (X > 0)[~IS_SECOND]).mean() > 0.95
    assert (likely[IS_SECOND] == (X > 0)[IS_SECOND]).mean() > 0.8


def test_a_changed_weight_prepares_and_trains_anew_and_a_changed_class_weight_only_trains(folder: Path) -> None:
    run(["c=modeling", *words(folder, "kind")])
    plan = {
        s.call.stage: s.action
        for s in prepare(["c=modeling", *words(folder, "kind", "class_weight=balanced")]).plan.steps
    }
    assert plan == {"preprocessing": "stored", "modeling": "run"}
    plan = {
        s.call.stage: s.action
        for s in prepare(["c=modeling", *words(folder, "kind", "dataset.weight=exposure")]).plan.steps
    }
    assert plan == {"preprocessing": "run", "modeling": "run"}


def test_the_shares_of_starts_are_those_of_rows_as_often_as_their_weights_say() -> None:
    target, constant, line = RNG.normal(size=(3, 30))
    constant, line = constant + target, line + target
    counts = RNG.integers(1, 5, size=30)
    repeated = shares(*(np.repeat(values, counts) for values in (target, constant, line)))
    assert shares(target, constant, line, counts.astype(float)) == pytest.approx(repeated)
    assert shares(target, constant, line) != pytest.approx(repeated)
