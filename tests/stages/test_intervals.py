"""Prediction intervals: a quantile of out-of-fold errors, in predictions and in what is served."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.errors import BadInput, StepFailed
from when_ml_pipeline_meets_hydra.ml.intervals import distance
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.serving.formats.manifest import read_manifest

LINEAR = ("modeling/model=linear", "preprocessing/param=minimal")


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        prepare(overrides)
    return str(caught.value)


def test_the_distance_is_the_quantile_of_split_conformal_prediction() -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))  # 1 to 19
    assert distance(errors, 19, 0.9) == 18  # the ⌈20 · 0.9⌉-th smallest
    assert distance(errors, 19, 0.95) == 19
    assert distance(errors, 19, 0.901) == 19
    assert distance(np.repeat(errors, 3), 19, 0.9) == 18, "repeated folds count each row once"
    with pytest.raises(
        StepFailed, match=r"interval\.coverage=0\.951 need the out-of-fold predictions of 20 training rows"
    ):
        distance(errors, 19, 0.951)
    with pytest.raises(StepFailed, match="and there are 0"):
        distance(errors[:0], 0, 0.5)


def test_errors_count_by_the_weights_of_their_rows() -> None:
    errors = np.arange(1.0, 20.0)
    for coverage in (0.5, 0.9, 0.901, 0.95):
        for repeats in (1, 3):
            known = np.repeat(errors, repeats)
            equal = distance(known, 19, coverage, np.full(len(known), 7.0))
            assert equal == distance(known, 19, coverage), "weights that are all the same say nothing"
    heavy = np.where(errors <= 10, 1000.0, 1.0)
    assert distance(errors, 19, 0.9, heavy) == 10
    with pytest.raises(
        StepFailed, match=r"need .* 19 training rows, .* 19, which by their weights say as much as 10\.0"
    ):
        distance(errors, 19, 0.95, heavy)

    rng, inside_of = np.random.default_rng(0), []
    for _ in range(100):
        # A tenth of the rows stand for half of all, and have errors three times as large.
        is_rare = rng.random(300) < 0.1
        spread, weights = np.where(is_rare, 3.0, 1.0), np.where(is_rare, 9.0, 1.0)
        reach = distance(np.abs(rng.normal(scale=spread)), 300, 0.9, weights)
        new = np.abs(rng.normal(scale=np.repeat([1.0, 3.0], 500)))
        inside_of.append((new <= reach).mean())
    assert np.mean(inside_of) == pytest.approx(0.9, abs=0.01)


def test_intervals_are_those_of_the_rows_that_weights_stand_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, is_rare = rng.normal(size=400), np.arange(400) % 10 == 0
    noise = rng.normal(size=400) * np.where(is_rare, 30, 1)
    table = pl.DataFrame({"x": x, "y": x + noise, "w": np.where(is_rare, 20.0, 1.0)})
    table.write_csv(tmp_path / "rows.csv")
    data = ("preprocessing/dataset=csv", f"dataset.path={tmp_path / 'rows.csv'}", "dataset.target=y", *LINEAR)
    words = ("split.test_fraction=0.5", "interval.coverage=0.8", "dataset.weight=w", "modeling/validation=holdout")
    done = run(["c=prediction", *data, *words, "validation.fraction=0.5"])
    held_out = pl.read_parquet(done.artifact("prediction").path / "predictions.parquet")
    is_inside = held_out["target"].is_between(held_out["lower"], held_out["upper"]).to_numpy()
    share = np.average(is_inside, weights=held_out["weight"])
    assert done.metrics["intervals.coverage"] == pytest.approx(share)
    assert done.artifact("prediction").scores["coverage"] == pytest.approx(share)  # type: ignore[attr-defined]
    assert abs(share - 0.8) < 0.15 < is_inside.mean() - 0.75, "the wider ones of the rows with large weights"
    log = next(o.log for o in done.outcomes if o.step.call.stage == "intervals")
    assert "held-out rows, weighted by w" in Path(str(log)).read_text()


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 rows: y = x + noise, of 30 days."""
    rng = random.Random(1)
    lines = ["x,day,shop,y"]
    for row in range(900):
        x = rng.gauss(0, 1)
        lines.append(f"{x},2024-01-{row // 30 + 1:02},s{row % 45},{x + rng.gauss(0, 2)}")
    file = tmp_path_factory.mktemp("data") / "rows.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_intervals_in_predictions_and_in_what_is_deployed(table_file: Path, tmp_path: Path) -> None:
    data = ("preprocessing/dataset=csv", f"dataset.path={table_file}", "dataset.target=y", *LINEAR)
    base = (*data, "dataset.exclude=[day,shop]", "split.test_fraction=0.5")
    done = run(["c=prediction,deployment", *base, "interval.coverage=0.9"], multirun=True)
    assert done.exit_code == 0
    titles = [o.step.call.title for o in done.outcomes]
    assert titles.count("modeling train") == 1
    assert "modeling train [fold 5/5]" in titles
    found = next(o.artifact for o in done.outcomes if o.step.call.stage == "intervals")
    assert found.distance == pytest.approx(1.645 * 2, rel=0.15)  # type: ignore[union-attr]
    table = pl.read_parquet(done.artifact("prediction").path / "predictions.parquet")
    width = (table["upper"] - table["lower"]).to_numpy()
    np.testing.assert_allclose(width, 2 * found.distance)  # type: ignore[union-attr]
    inside_of = table.select(pl.col("target").is_between("lower", "upper").mean()).item()
    assert done.metrics["intervals.coverage"] == pytest.approx(inside_of)
    assert 0.85 < inside_of < 0.95
    bundle = done.prepared.home / "models" / "rows" / "versions" / "1"
    manifest = read_manifest(bundle)[0]
    assert manifest.interval is not None
    assert (manifest.interval.coverage, manifest.interval.distance) == (0.9, found.distance)  # type: ignore[union-attr]
    again = inside("c=deployment", *base, "interval.coverage=0.9")
    assert "is unchanged" in again.out + again.err
    without = {s.call.title for s in prepare(["c=deployment", *base]).plan.steps}
    assert without == {"preprocessing prepare", "modeling train", "deployment push"}
    wider = prepare(["c=deployment", *base, "interval.coverage=0.95"]).plan.steps
    assert [s.call.name for s in wider if s.action == "run"] == ["intervals conformal", "deployment push"]
    _check_stored(table_file, found.distance)  # type: ignore[union-attr]
    sweep = ("objective.metric=r2", "m_param.alpha=1,1000", "modeling/validation=kfold")
    steps = prepare(["c=deployment", *base, *sweep, "interval.coverage=0.9"], multirun=True).plan.steps
    assert {str(s.action) for s in steps if s.call.stage == "intervals"} == {"if best"}


def _check_stored(file: Path, width: float) -> None:
    """A stored model predicts with the intervals that are stored for it, and with no others."""
    for model in (("run", "stored_model.run=last"), ("deployed", "stored_model.name=rows")):
        rows = (f"prediction/model={model[0]}", model[1], "prediction/rows=csv", f"new_rows.path={file}")
        done = run(["c=prediction", *rows, "interval.coverage=0.9"])
        assert done.exit_code == 0
        table = pl.read_parquet(done.artifact("prediction").path / "predictions.parquet")
        assert (table["upper"] - table["prediction"]).to_list() == pytest.approx([width] * 900)
        assert done.metrics["prediction.coverage"] == pytest.approx(0.9, abs=0.05)
    assert "interval.coverage=0.8: the store has no such intervals of this model" in refused(
        "c=prediction", *rows, "interval.coverage=0.8"
    )


def test_folds_are_those_of_the_split_and_what_is_no_number_is_refused(table_file: Path) -> None:
    def folds(*words: str) -> set[str]:
        data = ("preprocessing/dataset=csv", f"dataset.path={table_file}", "dataset.target=y", *LINEAR)
        steps = prepare(["c=intervals", "interval.coverage=0.9", *data, *words]).plan.steps
        splits = [s.call.arguments["split"] for s in steps if s.call.name == "preprocessing prepare"]
        return {type(split.within).__name__ for split in splits if hasattr(split, "within")}

    assert folds() == {"KFoldPart"}
    assert folds("preprocessing/split=time", "split.column=day") == {"TimeWindow"}
    assert folds("preprocessing/split=group", "split.column=shop") == {"GroupPart"}
    assert "interval.coverage: a value is needed" in refused("c=intervals", *LINEAR)
    for wrong in ("0", "1", "-0.5", "90", "x"):
        assert f"interval.coverage={wrong}" in refused("c=intervals", *LINEAR, f"interval.coverage={wrong}")
    wine = refused("c=deployment", "preprocessing/dataset=wine", *LINEAR, "interval.coverage=0.9")
    assert "interval.coverage=0.9: the target is a class, and intervals are for numbers" in wine
    none = refused("c=deployment", *LINEAR, "interval.coverage=0.9", "modeling/validation=none")
    assert "modeling/validation=none: there are no folds" in none


def test_the_artifact_has_what_the_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("modeling/validation=holdout", "validation.fraction=0.3", "interval.coverage=0.8")
    done = run(["c=intervals", *LINEAR, *words])
    found = done.artifact("intervals")
    content = json.loads((found.path / "intervals.json").read_text())
    assert content == {
        "coverage": 0.8,
        "distance": found.distance,  # type: ignore[attr-defined]
        "rows": 95,
        "metrics": dict(found.metrics),  # type: ignore[attr-defined]
    }
    log = next(o.log for o in done.outcomes if o.step.call.stage == "intervals")
    assert "coverage 0." in Path(str(log)).read_text()
