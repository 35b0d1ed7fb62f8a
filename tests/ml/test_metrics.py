"""Metrics: those that every model has, undefined ones, and those of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.binding import code_version
from when_ml_pipeline_meets_hydra.binding.targets import locate_callable
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate, shown, undefined
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions
from when_ml_pipeline_meets_hydra.pipeline import prepare, run

RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0.1, 5, size=40)
OWN = """
import numpy as np

def found(y_true, y_pred, sample_weight, y_prob, classes) -> float:
    assert set(y_true) <= set(classes) and y_prob.shape == (len(y_true), len(classes))
    return float(np.average(y_true == y_pred, weights=sample_weight)) * {factor}

def broken(y_true, y_pred) -> float:
    raise LookupError("no such thing")

def nothing(y_true, y_pred) -> float:
    return float("nan")

def of_several(y_true, y_pred) -> float:
    return 1.0 if len(set(y_pred)) > 1 else float("nan")

def untyped(y_true, y_pred):
    return 1.0

def other(y_true, y_pred, price) -> float:
    return 1.0

def _hidden(y_true, y_pred) -> float:
    return 1.0
"""


def test_the_metrics_of_numbers_with_and_without_weights() -> None:
    target, values = RNG.normal(5, 1, size=40), RNG.normal(5, 1, size=40)
    for weights in (None, WEIGHTS):
        found = evaluate(target, Predictions(values=values), weights, quantile=0.8)
        assert found["mape"] == pytest.approx(np.average(np.abs((target - values) / target), weights=weights))
        below = target - values
        assert found["pinball"] == pytest.approx(np.average(np.maximum(0.8 * below, -0.2 * below), weights=weights))
        assert found["r2"] == pytest.approx(metrics.r2_score(target, values, sample_weight=weights))
    assert list(evaluate(target, Predictions(values=values))) == ["r2", "mae", "rmse", "mape"]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_metrics_of_classes_with_and_without_weights(classes: int) -> None:
    target = np.arange(40) % classes
    likely = RNG.dirichlet(np.ones(classes), size=40)
    for weights in (None, WEIGHTS):
        found = evaluate(target, Predictions(values=likely.argmax(axis=1), probabilities=likely), weights)
        values = likely.argmax(axis=1)
        balanced = metrics.balanced_accuracy_score(target, values, sample_weight=weights)
        assert found["balanced_accuracy"] == pytest.approx(balanced)
        areas = [
            metrics.average_precision_score(target == k, likely[:, k], sample_weight=weights) for k in range(classes)
        ]
        assert found["average_precision"] == pytest.approx(areas[1] if classes == 2 else np.mean(areas))
        areas = [metrics.roc_auc_score(target == k, likely[:, k], sample_weight=weights) for k in range(classes)]
        assert found["roc_auc"] == pytest.approx(areas[1] if classes == 2 else np.mean(areas))


def test_undefined_metrics_are_told_with_the_reason() -> None:
    numbers = Predictions(values=np.array([1.0, 2.0, 3.0]))
    target = np.array([0.0, 2.0, 0.0])
    assert undefined(target, numbers) == {"mape": "2 of 3 targets are 0"}
    assert undefined(np.array([2.0, 2.0, 2.0]), numbers) == {"r2": "all targets are equal"}
    found = evaluate(target, numbers)
    assert shown(found, found, undefined(target, numbers)).endswith(", mape undefined (2 of 3 targets are 0)")
    two = Predictions(values=np.array([0, 1]), probabilities=np.array([[0.7, 0.3], [0.4, 0.6]]))
    assert evaluate(np.array([1, 1]), two)["balanced_accuracy"] == 0.5
    reason = "1 of 2 classes occurs in these rows"
    assert undefined(np.array([1, 1]), two) == {"roc_auc": reason, "average_precision": reason}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with metrics, in the allow-list, and a table of two classes."""
    file = tmp_path / "my_metrics.py"
    file.write_text(OWN.format(factor=1))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WMH_PACKAGES", "my_metrics")
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    x = RNG.normal(size=80)
    pl.DataFrame({"x": x, "kind": np.where(x + RNG.normal(size=80) > 0, "b", "a")}).write_csv(tmp_path / "rows.csv")
    return tmp_path


def words(own: Path, function: str = "found", *more: str) -> list[str]:
    data = ("preprocessing/dataset=csv", f"dataset.path={own / 'rows.csv'}", "dataset.target=kind")
    metric = (f"+metrics.own.hits._target_=my_metrics.{function}", "+metrics.own.hits.direction=maximize")
    return [*data, "modeling/model=linear", "m_param.knots=0", *metric, *more]


def test_a_metric_of_ones_own_is_an_objective_and_a_gate_and_stands_in_tables(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = words(own, "found", "modeling/model=linear", "m_param.alpha=0.01,100", "objective.metric=hits")
    done = inside("c=modeling", *asked, "--multirun")
    assert done.code == 0, done.err
    text = done.out + done.err
    assert "2 combinations, sorted by validation.hits, maximize" in text
    assert "validation.hits" in text
    assert "test.hits" in text
    assert text.count("[fold 5/5]: done") == 3, "a preparation and two models, each in five folds"
    gate = ("+exptests/gate@gates.tests.hits=metric", "gates.tests.hits.metric=hits", "gates.tests.hits.min=0.01")
    deployed = ("+exptests/gate@gates.tests.deployed=deployed", "gates.tests.deployed.metric=hits")
    verdict: Any = run(["c=exptests", *words(own), *gate, *deployed]).artifact("exptests")
    assert {j.gate: j.passed for j in verdict.judgements if j.gate in ("hits", "deployed")} == {
        "hits": True,
        "deployed": True,
    }
    found = run(["c=prediction", *words(own)])
    assert found.metrics["modeling.hits"] == found.metrics["modeling.accuracy"]
    assert found.artifact("prediction").scores["hits"] == found.metrics["modeling.hits"]  # type: ignore[attr-defined]

    # Another list of metrics, or another version of a function, trains nothing.
    (own / "my_metrics.py").write_text(OWN.format(factor=2))
    monkeypatch.delitem(sys.modules, "my_metrics")
    for cached in (code_version._digest_and_imports, code_version._spec):
        cached.cache_clear()
    plan = {s.call.title: s.action for s in prepare(["c=modeling", *words(own)]).plan.steps}
    assert plan == {"preprocessing prepare": "stored", "modeling train [as trained]": "stored", "modeling train": "run"}
    assert run(["c=modeling", *words(own)]).metrics["modeling.hits"] > 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("+metrics.own.hits._target_=os.getpid",), "only when_ml_pipeline_meets_hydra, my_metrics may be named here"),
        (("+metrics.own.hits._target_=my_metrics._hidden",), "it is not defined in my_metrics"),
        (("+metrics.own.hits._target_=my_metrics.untyped",), "it is not annotated to return a number"),
        (("+metrics.own.hits._target_=my_metrics.other",), "its parameter 'price' is none of y_true, y_pred"),
        (("+metrics.own.hits._target_=my_metrics.absent",), "my_metrics has no 'absent'"),
        (
            ("+metrics.own.hits._target_=when_ml_pipeline_meets_hydra.stages.modeling.train",),
            "only classes of options may be named here",
        ),
        (("+metrics.own.hits._target_=my_metrics.found", "~metrics.own.hits.direction"), "metrics.own.hits.direction"),
        (("+metrics.own.hits._target_=my_metrics.found", "+metrics.own.hits.price=3"), "metrics.own.hits.price"),
        (
            ("+metrics.own.r2._target_=my_metrics.found", "+metrics.own.r2.direction=maximize"),
            "metrics.own.r2: there is a metric of this name already",
        ),
    ],
)
def test_a_metric_that_may_not_be_called_is_refused(more: tuple[str, ...], message: str, own: Path) -> None:
    asked = [word for word in words(own) if "hits" not in word or "direction" in word]
    if any(word.startswith("~") or "own.r2" in word for word in more):
        asked = [word for word in asked if "direction" not in word]
        more = tuple(word for word in more if not word.startswith("~"))
    for stage in ("modeling", "prediction") if "own.r2" in message else ("modeling",):
        done = inside(f"c={stage}", *asked, *more)
        assert (done.code, message in done.err) == (2, True), done.err


def test_a_metric_that_fails_or_is_undefined_is_reported(own: Path) -> None:
    done = inside("c=modeling", *words(own, "broken"))
    assert done.code == 1
    assert "The metric hits fails: LookupError: no such thing" in done.err
    done = inside("c=modeling", *words(own, "nothing"))
    assert done.code == 0, done.err
    assert "hits undefined (it is nan)" in done.out + done.err
    gate = ("+exptests/gate@gates.tests.hits=baseline", "gates.tests.hits.metric=hits")
    done = inside(
        "c=validation,exptests", *words(own, "of_several", "modeling/validation=holdout"), *gate, "--multirun"
    )
    text = done.out + done.err
    assert "hits 1, " not in text, "the last one"
    assert text.count("hits 1\n") >= 2, "that of the naive baseline is undefined"
    assert "hits is undefined for the naive baseline" in text


def test_only_functions_of_allowed_packages_are_imported(own: Path) -> None:
    with pytest.raises(BadInput, match="may be named here"):
        locate_callable("subprocess.run", ["my_metrics"], ("y_true",), key="metrics.own.x", origin=lambda _: None)


def test_the_loss_of_any_quantile(own: Path) -> None:
    asked = [word for word in words(own, "found", "dataset.target=x") if "hits" not in word]
    name = "+modeling/metric@metrics.own.p90=pinball"
    done = run(
        ["c=modeling", *asked, "m_param.loss=quantile", "m_param.quantile=0.9", name, "metrics.own.p90.quantile=0.9"]
    )
    assert done.metrics["modeling.p90"] == pytest.approx(done.metrics["modeling.pinball"])
    model: Any = done.artifact("modeling")
    assert model.quantile == 0.9
    assert model.baseline["pinball"] < model.baseline["p90"], "the baseline of a quantile is that of the training rows"


def test_the_baseline_of_a_quantile_counts_rows_by_their_weights(own: Path) -> None:
    x = np.arange(80.0)
    pl.DataFrame({"x": x, "y": x, "w": np.where(x < 20, 1000.0, 1.0)}).write_csv(own / "rows.csv")
    asked = ["c=modeling", f"dataset.path={own / 'rows.csv'}", "preprocessing/dataset=csv", "dataset.target=y"]
    loss = ("modeling/model=linear", "m_param.loss=quantile", "m_param.quantile=0.5", "dataset.weight=w")
    model: Any = run([*asked, *loss]).artifact("modeling")
    assert model.baseline["pinball"] < 4, "that of the median of the first 20 rows"
