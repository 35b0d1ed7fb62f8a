"""Choices inside a training are made on parts of the training rows that are like the held-out rows of the split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task
from when_ml_pipeline_meets_hydra.ml.datasets.parquet_file import ParquetFile
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import (
    HistGradientBoosting,
    HistGradientBoostingParam,
)
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBM, LightGBMParam
from when_ml_pipeline_meets_hydra.ml.models.linear import Linear, LinearParam
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam
from when_ml_pipeline_meets_hydra.ml.splits.group import GroupSplit
from when_ml_pipeline_meets_hydra.ml.splits.interface import RowSplit
from when_ml_pipeline_meets_hydra.ml.splits.random import RandomSplit
from when_ml_pipeline_meets_hydra.ml.splits.time import TimeSplit
from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.stages.modeling import train
from when_ml_pipeline_meets_hydra.stages.preprocessing import prepare

Array = np.ndarray[Any, Any]

silent = NoProgress()


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(2, 60),
    values=st.integers(1, 12),
    classes=st.integers(0, 5),
    number=st.integers(1, 6),
    seed=st.integers(0, 99),
    how=st.sampled_from(["random", "group", "time"]),
)
def test_parts_are_like_the_split(rows: int, values: int, classes: int, number: int, seed: int, how: str) -> None:
    rng = np.random.default_rng(seed)
    target = np.unique(rng.integers(0, classes, rows), return_inverse=True)[1] if classes else rng.normal(size=rows)
    kept = KeptApart(values=rng.integers(0, values, rows), in_time=how == "time")
    apart = None if how == "random" else kept
    found = inner_folds(target, number, seed, is_classes=bool(classes), apart=apart)
    assert len(found) <= number
    held_out = np.concatenate([held for _, held in found]) if found else np.zeros(0, dtype=int)
    assert len(set(held_out.tolist())) == len(held_out), "no row is held out twice"
    for trained, held in found:
        assert sorted([*trained.tolist(), *held.tolist()]) == list(range(rows))
        assert len(trained)
        assert len(held)
        if classes:
            assert set(target[held].tolist()) <= set(target[trained].tolist())
    if how == "random" or len(np.unique(kept.values)) < 2 or not found:
        return
    if how == "group":
        assert classes or not any(_shared(kept, *fold) for fold in found), "only where all groups have all of a class"
    elif not classes:
        ((trained, held),) = found
        assert kept.values[trained].max() < kept.values[held].min()


def _shared(kept: KeptApart, trained: Array, held: Array) -> bool:
    return bool(set(kept.values[trained].tolist()) & set(kept.values[held].tolist()))


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> ParquetFile:
    """The target depends on the week alone, without any pattern: nothing is known about weeks that were not seen."""
    rng = np.random.default_rng(1)
    week, level = np.repeat(np.arange(60), 8), rng.normal(size=60)
    frame = {"week": week, "noise": rng.normal(size=480), "y": level[week] + 0.1 * rng.normal(size=480)}
    file = tmp_path_factory.mktemp("weeks") / "weeks.parquet"
    pl.DataFrame(frame).write_parquet(file)
    return ParquetFile(path=file, target="y")


@pytest.fixture(scope="module")
def splits(weeks: ParquetFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedData]:
    made = {}
    kinds: dict[str, RowSplit] = {
        "random": RandomSplit(),
        "group": GroupSplit(column="week", dataset=weeks),
        "time": TimeSplit(column="week", dataset=weeks),
    }
    for name, split in kinds.items():
        out = tmp_path_factory.mktemp(name)
        made[name] = prepare(weeks, PreparationParam(), split, out=out, progress=silent)
    return made


@pytest.mark.parametrize(
    ("model", "param"),
    [
        pytest.param(HistGradientBoosting(), HistGradientBoostingParam(n_estimators=100), id="hist_gradient_boosting"),
        pytest.param(LightGBM(), LightGBMParam(n_estimators=100), id="lightgbm", marks=pytest.mark.lightgbm),
        pytest.param(XGBoost(), XGBoostParam(n_estimators=200), id="xgboost", marks=pytest.mark.integration("xgboost")),
        pytest.param(
            CatBoost(), CatBoostParam(n_estimators=200), id="catboost", marks=pytest.mark.integration("catboost")
        ),
    ],
)
def test_it_stops_where_unseen_groups_and_times_say_so(
    model: Any, param: Any, splits: dict[str, PreparedData], tmp_path: Path
) -> None:
    """At random, each week is on both sides, and every further tree remembers it better."""
    best = {}
    for name, data in splits.items():
        (tmp_path / name).mkdir()
        train(model, param, data, out=tmp_path / name, progress=silent)
        best[name] = json.loads((tmp_path / name / "history.json").read_text())["best"]
    assert best["group"] < best["random"] / 2
    assert best["time"] < best["random"] / 2


def test_a_linear_model_chooses_by_them_too() -> None:
    """The target waved with the weeks, and came to rest: bends of the line help in between, and not from there on."""
    week = np.repeat(np.arange(48), 8)
    level = np.where(week < 38, np.sin(2 * np.pi * week / 19), 0)
    target = level + 0.1 * np.random.default_rng(1).normal(size=len(week))
    features = ((week - week.mean()) / week.std()).astype(np.float32).reshape(-1, 1)
    bends = []
    for apart in (None, KeptApart(values=week, in_time=True)):
        fitted: Any = Linear().fit(Task.REGRESSION, LinearParam(knots=30), features, target, silent, apart)
        bends.append(len(fitted.splines))
    assert bends == [30, 0]
