"""Thresholds of two classes: chosen on out-of-fold predictions, and used wherever a class is predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate
from when_ml_pipeline_meets_hydra.ml.thresholds.by_counts import ByCost, ByF, ByRecall
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts
from when_ml_pipeline_meets_hydra.ml.training.decisions import Scored, chosen, cross_fitted
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.serving.bundling import build
from when_ml_pipeline_meets_hydra.serving.engine.scorer import load
from when_ml_pipeline_meets_hydra.serving.http.models import ServedVersion
from when_ml_pipeline_meets_hydra.serving.http.protocol import metadata

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 2))
IS_FRAUD = X[:, 0] + RNG.normal(size=300) > 1.9
ROWS = pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": np.where(IS_FRAUD, "fraud", "fine")})
FIRST = np.array([False, True, False, True, True])
LIKELY = np.array([0.1, 0.2, 0.3, 0.7, 1.0])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (ByF(), 0.15),
        (ByF(beta=0.5), 0.5),
        (ByCost(false_positive=1, false_negative=1), 0.5),
        (ByCost(false_positive=1, false_negative=5), 0.15),
        (ByCost(false_positive=0, false_negative=1), 0.15),
        (ByRecall(recall=1), 0.15),
        (ByRecall(recall=0.6), 0.5),
        (ByRecall(recall=0.1), 0.85),
    ],
)
def test_the_best_threshold_of_a_few_rows(threshold: Any, expected: float) -> None:
    assert threshold.choose(Counts.of(FIRST, LIKELY)) == pytest.approx(expected)


def test_weights_count_and_where_no_row_is_worth_finding_none_is_found() -> None:
    weights = np.array([1, 1, 1, 9, 9.0])
    assert ByRecall(recall=0.9).choose(Counts.of(FIRST, LIKELY, weights)) == pytest.approx(0.5)
    none = ByCost(false_positive=1, false_negative=0).choose(Counts.of(FIRST[:4], LIKELY[:4]))
    assert none == pytest.approx(0.85)
    neighbours = np.nextafter(
        np.float32(0.5), np.array([0, 1], dtype=np.float32)
    )  # with no 32-bit float in between but one
    for low, high in ((neighbours[0], np.float32(0.5)), (np.float32(0.5), neighbours[1])):
        likely = np.array([low, high], dtype=np.float64)
        assert np.float32(ByF().choose(Counts.of(np.array([False, True]), likely))) == high


def test_no_threshold_is_measured_on_the_rows_by_which_it_was_chosen() -> None:
    def part(likely: list[float], target: list[int], rows: Sequence[int] = range(4)) -> Scored:
        probabilities = np.column_stack((1 - np.array(likely), likely))
        return Scored(
            target=np.array(target),
            predicted=Predictions(values=np.array(target), probabilities=probabilities),
            numbers=np.array(rows),
        )

    low, high = part([0.1, 0.2, 0.1, 0.2], [0, 1, 0, 1]), part([0.8, 0.9, 0.8, 0.9], [0, 1, 0, 1], range(4, 8))
    first, second = cross_fitted(ByF(), ("no", "yes"), [low, high])
    repeated, *_ = cross_fitted(ByF(), ("no", "yes"), [low, high, part([0.1, 0.11, 0.1, 0.11], [0, 1, 0, 1])])
    assert first.values.tolist() == repeated.values.tolist(), "the same rows in another repeat do not count"
    assert first.values.tolist() == [0, 0, 0, 0], "by the threshold of the other part, .85"
    assert second.values.tolist() == [1, 1, 1, 1], "by .15"
    (halves,) = cross_fitted(ByF(), ("no", "yes"), [part([0.1, 0.8, 0.2, 0.9], [0, 0, 1, 1])])
    assert halves.values.tolist() == [0, 1, 0, 1], "each half by the other one"
    assert chosen(ByF(), ("no", "yes"), [low]).threshold == pytest.approx(0.15)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rows") / "rows.csv"
    ROWS.write_csv(found)
    return found


def words(file: Path, *more: str) -> list[str]:
    data = ("preprocessing/dataset=csv", f"dataset.path={file}", "dataset.target=kind")
    return [*data, "modeling/model=linear", "m_param.knots=0", *more]


def test_a_threshold_is_chosen_out_of_fold_and_is_what_is_reported_and_served(file: Path, tmp_path: Path) -> None:
    asked = words(file, "modeling/threshold=f1", "threshold.positive=fraud", "modeling/validation=kfold")
    usual: Any = run(["c=modeling", *words(file)]).artifact("modeling")
    done = run(["c=prediction,analysis", *asked, "analysis/page=quick"], multirun=True)
    data, model, validated, predicted = (
        done.artifact(stage) for stage in ("preprocessing", "modeling", "validation", "prediction")
    )
    decision = model.decision  # type: ignore[attr-defined]
    assert decision.positive == 1
    assert decision == validated.decision  # type: ignore[attr-defined]
    folds = pl.read_parquet(validated.path / "predictions.parquet")
    counts = Counts.of((folds["target"] == "fraud").to_numpy(), folds["probability_fraud"].to_numpy())
    assert decision.threshold == pytest.approx(ByF().choose(counts), rel=1e-6), "on all out-of-fold rows alone"
    told = f"linear: fraud from a probability of {decision.threshold:.4g} on"
    for artifact in (validated, model):
        assert told in (artifact.path.parent / "log.txt").read_text()

    rows = pl.read_parquet(model.path / "predictions.parquet")
    is_fraud = (rows["probability_fraud"] >= decision.threshold).to_numpy()
    assert (rows["prediction"].to_numpy() == is_fraud).all()
    argmax = pl.read_parquet(usual.path / "predictions.parquet")
    assert argmax["probability_fraud"].equals(rows["probability_fraud"]), "the same model"
    assert argmax["prediction"].sum() != rows["prediction"].sum(), "other classes"
    found = Predictions(
        values=is_fraud.astype(int), probabilities=rows.select("probability_fine", "probability_fraud").to_numpy()
    )
    assert model.metrics == pytest.approx(dict(evaluate(rows["target"].to_numpy(), found)))  # type: ignore[attr-defined]
    assert predicted.scores == pytest.approx(model.metrics)  # type: ignore[attr-defined]
    report = json.loads((done.artifact("analysis").path / "report.json").read_text())
    assert report["metrics"] == pytest.approx(model.metrics)  # type: ignore[attr-defined]

    smoke = build(data, model, tmp_path)  # type: ignore[arg-type]
    served = load(tmp_path)
    answer = served.predict(smoke.rows)
    assert answer.probabilities is not None
    assert list(answer.values) == [["fine", "fraud"][p[1] >= decision.threshold] for p in answer.probabilities]
    assert served.manifest.decision == decision
    stored = run(["c=prediction", "prediction/model=run", "stored_model.run=last", "prediction/rows=held_out"])
    labels = pl.read_parquet(stored.artifact("prediction").path / "predictions.parquet")["prediction"]
    assert (labels == "fraud").to_list() == is_fraud.tolist(), "a stored model is the decided one"
    beside = replace(smoke, decision=None).expected
    assert smoke.difference(beside) is None
    shown = metadata(ServedVersion("rows", 1, served, None), [1])["parameters"]  # type: ignore[arg-type]
    assert shown == {"threshold": {"class": "fraud", "probability": decision.threshold}}


def test_another_threshold_trains_nothing(file: Path) -> None:
    asked, folds = words(file), ("modeling/validation=kfold", "validation.k=2")
    run(["c=modeling", *asked, *folds, "modeling/threshold=f1"])

    def actions(*more: str) -> dict[str, str]:
        return {s.call.title: s.action.value for s in prepare(["c=modeling", *asked, *more]).plan.steps}

    by_cost = ("modeling/threshold=cost", "threshold.false_negative=9")
    found = actions(*by_cost, *folds)
    assert {title for title, action in found.items() if action == "run"} == {"validation validate", "modeling train"}
    assert found["modeling train [as trained]"] == "stored"
    assert actions()["modeling train"] == "stored", "without a threshold it is the model as it was trained"
    given = actions("modeling/threshold=given", "threshold.value=0.2")
    assert given == {
        "preprocessing prepare": "stored",
        "modeling train [as trained]": "stored",
        "modeling train": "run",
    }


@pytest.mark.integration
def test_a_sweep_is_ranked_by_what_the_threshold_gives(file: Path) -> None:
    asked = words(file, "modeling/threshold=none,recall", "validation.k=3", "modeling/validation=kfold")
    done = inside("c=modeling", *asked, "threshold.recall=0.95", "objective.metric=balanced_accuracy", "--multirun")
    assert done.code == 2
    assert "threshold.recall" in done.err, "none has no recall"
    asked = [*asked[:-3], "modeling/threshold=f1", "threshold.beta=1,5", "validation.k=3", "modeling/validation=kfold"]
    done = inside("c=modeling", *asked, "objective.metric=balanced_accuracy", "--multirun")
    assert done.code == 0, done.err
    assert "2 combinations, sorted by validation.balanced_accuracy, maximize" in done.err + done.out
    assert (done.err + done.out).count("modeling train [as trained]: done") == 1
    assert (done.err + done.out).count("modeling train: not chosen") == 1


def test_a_threshold_of_anything_but_two_known_classes_is_refused(file: Path) -> None:
    for more, expected in (
        (("threshold.positive=fruad",), "threshold.positive"),
        (("dataset.target=a",), "a threshold is for two classes, and the target has numbers"),
        (
            ("preprocessing/dataset=wine", "~dataset.path"),
            "a threshold is for two classes, and the target has 3 classes",
        ),
    ):
        asked = words(file, "modeling/threshold=f1", *more)
        if "~dataset.path" in more:
            asked = ["preprocessing/dataset=wine", "modeling/model=linear", "modeling/threshold=f1"]
        for stage in ("modeling", "validation") if "numbers" in expected else ("modeling",):
            done = inside(f"c={stage}", *asked)
            assert (done.code, expected in done.err) == (2, True), done.err
            assert "Nothing ran" in done.err
