"""Categories: trained on columns merged from one-hot features, exported for these features."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budget import costly
from conftest import Cli
from prepared_tables import written
from small_pipeline import inside
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble, EnsembleParam
from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import (
    HistGradientBoosting,
    HistGradientBoostingParam,
)
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
from when_ml_pipeline_meets_hydra.ml.models.linear_start import shares
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam
from when_ml_pipeline_meets_hydra.ml.training import graph
from when_ml_pipeline_meets_hydra.ml.training.matrices import Rows, read_split
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress

Array = np.ndarray[Any, Any]

silent = NoProgress()


def table(rng: np.random.Generator, rows: int, alone: int, sizes: list[int]) -> tuple[Array, Array]:
    """Features, float32 [N, F], of which each group has at most one 1, and a number that depends on all of them."""
    numbers = rng.normal(size=(rows, alone))
    features, target = [numbers], numbers.sum(axis=1) + rng.normal(scale=0.1, size=rows)
    for size in sizes:
        codes = rng.integers(0, size + 1, rows)
        features.append(np.arange(1, size + 1) == codes[:, None])
        target += rng.normal(size=size + 1)[codes]
    return np.hstack(features).astype(np.float32), target


def groups(alone: int, sizes: list[int]) -> tuple[tuple[int, int], ...]:
    ends = np.cumsum([alone, *sizes]).tolist()
    return tuple(pairwise(ends))


MODELS: list[Any] = [
    pytest.param(HistGradientBoosting, HistGradientBoostingParam, id="hist_gradient_boosting"),
    pytest.param(LightGBM, LightGBMParam, id="lightgbm", marks=pytest.mark.lightgbm),
    pytest.param(XGBoost, XGBoostParam, id="xgboost", marks=pytest.mark.integration("xgboost")),
    pytest.param(CatBoost, CatBoostParam, id="catboost", marks=pytest.mark.integration("catboost")),
]


def by_graph(model: Any, estimator: Any, features: Array) -> Array:
    exported = model.export(estimator, features.shape[1]).SerializeToString()
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"features": features.astype(np.float64)})[-1]
    return found


@pytest.mark.parametrize(("kind", "takes"), MODELS)
@costly(12)
@given(
    seed=st.integers(0, 2**16),
    classes=st.sampled_from([0, 2, 4]),
    alone=st.integers(0, 3),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=3),
)
def test_the_graph_says_what_the_booster_says_of_any_row(
    kind: Any, takes: Any, seed: int, classes: int, alone: int, sizes: list[int]
) -> None:
    """Also for rows with a category that is not in the training rows, or with none."""
    rng = np.random.default_rng(seed)
    features, numbers = table(rng, 400, alone, sizes)
    features[:, -1] = 0
    target = np.digitize(numbers, np.quantile(numbers, np.arange(1, classes) / classes)) if classes else numbers
    task = Task.CLASSIFICATION if classes else Task.REGRESSION
    model, one_hot = kind(max_features=1.0), groups(alone, sizes)
    fine = {"min_samples_leaf": 1} if "min_samples_leaf" in takes.__dataclass_fields__ else {}
    param = takes(n_estimators=8, max_depth=5, folds=2, patience=seed % 3 or None, seed=seed, **fine)
    estimator: Any = model.fit(task, param, features, target, silent, one_hot)
    rows, _ = table(rng, 2000, alone, sizes)
    expected = estimator.predict_proba(rows) if classes else estimator.predict(rows).reshape(-1, 1)
    np.testing.assert_allclose(by_graph(model, estimator, rows), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.lightgbm
def test_categories_are_sets_in_the_graph_however_many_there_are() -> None:
    features, target = table(np.random.default_rng(0), 4000, 1, [400])
    model, param = LightGBM(max_features=1.0), LightGBMParam(n_estimators=10)
    estimator = model.fit(Task.REGRESSION, param, features, target, silent, groups(1, [400]))
    np.testing.assert_allclose(by_graph(model, estimator, features)[:, 0], estimator.predict(features), rtol=1e-12)
    (trees,) = [node for node in model.export(estimator, 401).graph.node if node.op_type == "TreeEnsemble"]
    given_as = {attribute.name: attribute for attribute in trees.attribute}
    assert 6 in onnx.numpy_helper.to_array(given_as["nodes_modes"].t)
    assert np.isnan(onnx.numpy_helper.to_array(given_as["membership_values"].t)).any()


@pytest.mark.parametrize(("kind", "takes"), MODELS)
def test_the_same_inputs_give_the_same_bytes_on_any_number_of_threads(kind: Any, takes: Any) -> None:
    features, target = table(np.random.default_rng(0), 1000, 2, [5, 40])
    made, param = [], takes(n_estimators=10, folds=1)
    for n_jobs in (1, 1, 2):
        model = kind(n_jobs=n_jobs)
        estimator = model.fit(Task.REGRESSION, param, features, target, silent, groups(2, [5, 40]))
        made.append(graph.standardise(model.export(estimator, 47), 47, None, 0).SerializeToString(deterministic=True))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize(("kind", "takes"), MODELS)
def test_columns_with_categories_make_the_same_trees_as_a_matrix(kind: Any, takes: Any, tmp_path: Path) -> None:
    features, target = table(np.random.default_rng(0), 500, 2, [3, 40])
    data = written(tmp_path / "data", features, target, features, target)
    names = list(data.features)
    for split in ("train", "test"):
        stored = pl.read_parquet(data.path / f"{split}.parquet")
        stored.with_columns(pl.col(names[2:]).cast(pl.Boolean)).write_parquet(data.path / f"{split}.parquet")
    known, model, one_hot = read_split(data, "train"), kind(), groups(2, [3, 40])
    given_as: tuple[Rows | Array, ...] = (known.rows, known.features)
    one, other = (
        model.fit(Task.REGRESSION, takes(n_estimators=10, folds=1), f, known.target, silent, one_hot) for f in given_as
    )
    np.testing.assert_array_equal(one.predict(known.features), other.predict(known.features))


def test_codes_are_the_place_of_the_feature_that_is_one() -> None:
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

    columns = Columns(7, ((1, 3), (4, 6)))
    rows = np.array([[5, 0, 1, 6, 0, 0, 7], [8, 1, 0, 9, 0, 1, 4]], dtype=np.float32)
    made = dict(zip(columns.sources, columns.of(rows).T.tolist(), strict=True))
    assert made == {0: [5, 8], 3: [6, 9], 6: [7, 4], (1, 3): [2, 1], (4, 6): [0, 2]}
    assert sorted(columns.groups.values()) == [(1, 3), (4, 6)]


def test_prepared_data_say_which_features_are_of_one_column(tmp_path: Path) -> None:
    frame = {
        "x": [1.0, None, *range(38)],
        "kind": ["a", "b"] * 20,
        "name": [f"somebody {k}" for k in range(40)],
        "new": [True, False] * 20,
        "y": [k / 7 for k in range(40)],
    }
    pl.DataFrame(frame, strict=False).write_parquet(tmp_path / "rows.parquet")
    words = ["preprocessing/dataset=parquet", f"dataset.path={tmp_path / 'rows.parquet'}", "dataset.target=y"]
    data = run(["c=preprocessing", *words, "p_param.min_frequency=0.3"]).artifact("preprocessing")
    assert isinstance(data, PreparedData)
    made = [data.features[start:end] for start, end in data.one_hot]
    assert made == [("kind=a", "kind=b"), ("new=false", "new=true")]


@pytest.mark.integration
def test_texts_with_many_values_are_learnt_better_than_feature_by_feature(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes, numbers = rng.integers(0, 30, (2, 4000)), rng.normal(size=4000)
    effects = rng.normal(size=(2, 30))
    price = numbers + effects[0][codes[0]] + effects[1][codes[1]] + rng.normal(scale=0.5, size=4000)
    shops, towns = ([f"{name} {k}" for k in own] for name, own in zip(("shop", "town"), codes, strict=True))
    file = tmp_path / "sales.parquet"
    pl.DataFrame({"shop": shops, "town": towns, "size": numbers, "price": price}).write_parquet(file)
    words = ["preprocessing/dataset=parquet", f"dataset.path={file}", "dataset.target=price", "modeling/param=small"]
    found = {}
    for model in ("lightgbm", "gradient_boosting"):
        done = cli("c=modeling", f"modeling/model={model}", *words)
        assert done.code == 0, done.err
        found[model] = float(re.findall(r"rows: r2 ([\d.]+)", done.out)[0])
    assert found["lightgbm"] > 0.7 > 0.55 > found["gradient_boosting"]


def test_rare_categories_of_a_large_table_are_features_for_models_that_take_them_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All models share one preparation, and the graph of each takes all of its features."""
    rng = np.random.default_rng(0)
    shops = np.concatenate([np.repeat(np.arange(20), 9), np.repeat(np.arange(20, 160), 3)])
    price = rng.normal(size=160)[shops] + rng.normal(scale=0.1, size=600)
    rows = pl.DataFrame({"shop": [f"shop {k}" for k in shops], "size": rng.normal(size=600), "price": price})
    rows.sample(fraction=1, shuffle=True, seed=0).write_parquet(tmp_path / "shops.parquet")
    words = ["c=modeling", "preprocessing/dataset=parquet", f"dataset.path={tmp_path / 'shops.parquet'}"]
    words += ["dataset.target=price", "modeling/model=linear"]
    assert "linear gets" not in inside(*words, "split.seed=1").out
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.preparation.categories.MOST_VALUES_ALONE", 1000)
    told = inside(*words).out
    data = run(words).artifact("preprocessing")
    assert isinstance(data, PreparedData)
    assert len(data.features) > 140 > 31 == len(data.features) - len(data.rare)
    assert f"linear gets 31 of the {len(data.features)} features: without rare categories" in told
    boosted = run([*words[:-1], "modeling/model=hist_gradient_boosting"])
    assert boosted.artifact("preprocessing").path == data.path
    better, other = boosted.artifact("modeling"), run(words).artifact("modeling")
    assert isinstance(better, TrainedModel)
    assert isinstance(other, TrainedModel)
    assert better.metrics["r2"] > 0.5 > 0.4 > other.metrics["r2"]
    refused = inside(*words, "p_param.max_categories=1", "p_param.min_frequency=0.5", "dataset.exclude=[size]")
    assert (refused.code, "no column gives a feature" in refused.err) == (2, True)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_member_without_rare_categories_is_exported_for_all_features(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, target = table(np.random.default_rng(0), 300, 2, [30])
    task = Task.CLASSIFICATION if classes else Task.REGRESSION
    if classes:
        target = np.digitize(target, np.quantile(target, [0.3, 0.6]))
    half = np.array([0.5, 0.5])
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.models.ensemble_selection.weights", lambda *_: half)
    model, param, rare = Ensemble(time_limit=None), EnsembleParam(n_candidates=2, folds=2), tuple(range(12, 32))
    fitted: Any = model.fit(task, param, features, target, silent, groups(2, [30]), rare=rare)
    (_, boosted, _), (_, linear, _) = sorted(fitted.parts, key=lambda part: part[0].model.name)
    assert (len(linear.places), hasattr(boosted, "places")) == (12, False)
    expected = fitted.predict_proba(features) if classes else fitted.predict(features)[:, None]
    np.testing.assert_allclose(by_graph(model, fitted, features), expected, rtol=1e-6, atol=1e-9)


def test_a_line_and_a_constant_share_a_prediction_by_their_errors_on_rows_held_out() -> None:
    rng = np.random.default_rng(0)
    target, one, other = rng.normal(size=(3, 300))
    good, worse = target + 0.1 * one, target + 2 * other
    assert shares(target, worse, good) == {True: 1.0}
    assert shares(target, good, worse) == {False: 1.0}
    assert shares(target, good, good) == {False: 1.0}
    found = shares(target, target + 0.5 * one, target + 0.4 * other)
    assert 0.5 < found[True] < 0.75
    assert found[False] + found[True] == pytest.approx(1)


def test_the_graph_has_both_starts_and_a_line_of_frequent_categories_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.models.linear_start._MOST_PRODUCTS", 300 * 12**2)
    half = {False: 0.4, True: 0.6}
    monkeypatch.setattr("when_ml_pipeline_meets_hydra.ml.models.linear_start.shares", lambda *_: half)
    features, target = table(np.random.default_rng(0), 300, 2, [30])
    model, rare = HistGradientBoosting(), tuple(range(12, 32))
    param = HistGradientBoostingParam(folds=2)
    fitted: Any = model.fit(Task.REGRESSION, param, features, target, silent, groups(2, [30]), rare=rare)
    assert [len(member.kinds) for member in fitted.members] == [2, 2]
    assert {len(kind.start.places) for member in fitted.members for kind in member.kinds if kind.start} == {12}
    np.testing.assert_allclose(by_graph(model, fitted, features)[:, 0], fitted.predict(features), rtol=1e-12)
