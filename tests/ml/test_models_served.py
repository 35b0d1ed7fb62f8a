"""What a bundle answers to raw rows, also strange ones, is what the trained model itself predicts of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

from small_pipeline import inside, write
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost
from when_ml_pipeline_meets_hydra.ml.models.ensemble import Ensemble
from when_ml_pipeline_meets_hydra.ml.models.estimator import Estimator
from when_ml_pipeline_meets_hydra.ml.models.knn import Neighbours
from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost
from when_ml_pipeline_meets_hydra.ml.training import predictions
from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.encode import feeds_from_rows

ROWS = 200
MODELS: list[Any] = [
    pytest.param(Neighbours, "knn", [], id="knn"),
    pytest.param(
        Ensemble, "ensemble", ["model.time_limit=null", "m_param.n_candidates=3", "m_param.folds=2"], id="ensemble"
    ),
    pytest.param(Estimator, "estimator", [], id="estimator"),
    pytest.param(CatBoost, "catboost", [], id="catboost", marks=pytest.mark.integration("catboost")),
    pytest.param(XGBoost, "xgboost", [], id="xgboost", marks=pytest.mark.integration("xgboost")),
]
ESTIMATORS = {"price": "sklearn.svm.SVR", "grade": "sklearn.linear_model.LogisticRegression"}


def sales() -> pl.DataFrame:
    """A table with numbers, texts and a date, in all of which values are missing."""
    rng = np.random.default_rng(0)
    size, kind = rng.lognormal(size=400), rng.choice(["a", "b", "c", "d"], 400)
    price = 1e6 + 50 * np.log(size) + 20 * (kind == "a") + rng.normal(size=400)
    frame = pl.DataFrame({"size": size, "kind": kind, "sold": rng.integers(0, 900, 400), "price": price})
    frame = frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 9 == 1).then(None).otherwise(pl.col("size")).alias("size"),
        pl.when(pl.int_range(pl.len()) % 11 == 2).then(None).otherwise(pl.col("kind")).alias("kind"),
        (pl.date(2020, 1, 1) + pl.duration(days="sold")).alias("sold"),
    )
    grades = np.array(["low", "mid", "high"])[np.digitize(price, np.quantile(price, [0.4, 0.8]))]
    return frame.with_columns(pl.Series("grade", grades))


def strange() -> list[dict[str, Any]]:
    """Raw rows: usual, missing, unknown, and extreme values."""
    rng = np.random.default_rng(1)
    sizes: list[Any] = [None, 0.0, -1.0, 1e9, -1e30, 1e300, 5e-324]
    rows = []
    for _ in range(ROWS):
        size = sizes[rng.integers(len(sizes))] if rng.random() < 0.4 else float(rng.lognormal())
        kind = [None, "", "e", "A", "🚀", "a", "b", "c", "d"][rng.integers(9)]
        sold = [None, "1900-01-01", "2999-12-31", "2021-05-05"][rng.integers(4)]
        rows.append({"size": size, "kind": kind, "sold": sold})
    return rows


def _trained(model: str, target: str, words: list[str]) -> tuple[PreparedData, TrainedModel]:
    sales().drop("grade" if target == "price" else "price").write_parquet("sales.parquet")
    data = ["preprocessing/dataset=parquet", "dataset.path=sales.parquet", f"dataset.target={target}"]
    named = [f"estimator={ESTIMATORS[target]}"] if model == "estimator" else []
    done = run(["c=modeling", f"modeling/model={model}", "modeling/param=small", *data, *words, *named])
    prepared, trained = done.artifact("preprocessing"), done.artifact("modeling")
    assert isinstance(prepared, PreparedData)
    assert isinstance(trained, TrainedModel)
    return prepared, trained


@pytest.mark.parametrize("target", ["price", "grade"])
@pytest.mark.parametrize(("kind", "name", "words"), MODELS)
def test_a_bundle_answers_what_the_model_predicts(
    kind: Any, name: str, words: list[str], target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    fit = kind.fit

    def keep(*arguments: Any, **named: Any) -> Any:
        kept.append(fit(*arguments, **named))
        return kept[-1]

    keep.__signature__ = inspect.signature(fit)  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, "fit", keep)
    data, trained = _trained(name, target, words)
    (tmp_path / "bundle").mkdir()
    bundling.build(data, trained, tmp_path / "bundle")
    bundle = scorer.check(tmp_path / "bundle")
    found = bundle.predict(strange())
    session = onnxruntime.InferenceSession(data.path / "preprocessing.onnx", providers=["CPUExecutionProvider"])
    inputs = feeds_from_rows(bundle.manifest.inputs, strange(), data.reading)
    (features,) = session.run(None, inputs)
    known = pl.read_parquet(data.path / "train.parquet")["__target__"].to_numpy()
    scale = TargetScale.of(known) if target == "price" else None
    expected = predictions.predict(kept[-1], features, len(data.classes), scale)
    if scale:
        assert np.max(np.abs(np.array(found.values) - expected.values)) <= 1e-6 * scale.spread
        assert np.ptp(expected.values) > scale.spread
    else:
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        assert len(set(found.values)) > 1


@pytest.mark.integration("xgboost")
def test_a_model_of_the_user_that_extends_xgboost_is_deployed(tmp_path: Path) -> None:
    model = "# @package model\n# Deep\ndefaults: [xgboost, _self_]\nname: deep\nmax_features: 1.0\n"
    param = "# @package m_param\n# Deep\ndefaults: [/modeling/param/xgboost/small, _self_]\nmax_depth: 8\n"
    folder = write(tmp_path / "conf", {"modeling/model/deep.yaml": model, "modeling/param/deep/small.yaml": param})
    words = ("modeling/model=deep", "modeling/param=small", "m_param.gamma=0.01", "--config-dir", folder)
    code, out, err = inside("c=deployment", *words)
    assert code == 0, err
    assert "deep on held-out rows: r2 0." in out
    assert "cars version 1 is active on local" in out
