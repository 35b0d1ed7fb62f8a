"""Validation: combinations are scored in folds of the training rows, and only the best one meets the held-out rows."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import polars as pl
import pytest

from small_pipeline import EXAMPLES, inside, install
from terminal import Terminal
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.execution.pruning import PartialScore
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.runs import Run

LINEAR = ("modeling/model=linear", "preprocessing/param=minimal")


def titles(*overrides: str, multirun: bool = False) -> list[str]:
    return [f"{s.call.title}: {s.action}" for s in prepare(overrides, multirun=multirun).plan.steps]


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        prepare(overrides)
    return str(caught.value)


def test_a_file_that_does_not_exist_is_reported_once() -> None:
    """Not by its folds, too."""
    with pytest.raises(BadInput) as caught:
        prepare(("c=modeling", "dataset.path=nowhere.csv", "objective.metric=r2"))
    assert [problem.key for problem in caught.value.problems] == ["dataset.path"]


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows: a signal, a category of noise, a day, a shop, and a mark."""
    rng = random.Random(0)
    lines = ["x,noise,day,shop,part,y"]
    for row in range(600):
        x = rng.gauss(0, 1)
        values = [x, f"n{rng.randrange(200)}", f"2024-{row // 50 + 1:02}-{row % 28 + 1:02}", f"s{rng.randrange(30)}"]
        lines.append(",".join(map(str, [*values, "test" if row % 10 == 3 else "train", x + rng.gauss(0, 2)])))
    file = tmp_path_factory.mktemp("data") / "rows.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def csv(file: Path, *exclude: str) -> tuple[str, ...]:
    return ("preprocessing/dataset=csv", f"dataset.path={file}", "dataset.target=y", f"dataset.exclude={[*exclude]}")


SWEEP = (
    *("modeling/model=linear", "modeling/validation=kfold", "validation.k=3", "objective.metric=r2"),
    *("preprocessing/param=minimal,standard", "m_param.alpha=1,1000", "hydra.launcher.n_jobs=2"),
)


def test_a_sweep_is_decided_in_folds_and_the_best_is_tested_and_deployed_alone() -> None:
    words = ("c=modeling,deployment", *SWEEP)
    done = run(words, multirun=True)
    assert done.exit_code == 0
    trained = [o for o in done.outcomes if o.step.call.name == "modeling train"]
    whole = {str(o.status): o for o in trained if o.step.call.element is None}
    assert [str(o.status) for o in trained].count("done") == 12 + 1
    assert set(whole) == {"done", "not chosen"}
    assert [str(o.status) for o in done.outcomes if o.step.call.stage == "deployment"].count("done") == 1
    prepared = [o for o in done.outcomes if o.step.call.name == "preprocessing prepare" and o.step.call.element]
    assert len(prepared) == 6, "the folds of a preprocessing are shared by its models"
    validated = {o.step.key: o.artifact for o in done.outcomes if o.step.call.stage == "validation"}
    best = max(validated.values(), key=lambda found: found.metrics["r2"])  # type: ignore[union-attr]
    assert f"r2={best.metrics['r2']:.4g}" in whole["done"].reason  # type: ignore[union-attr]
    _check_table(done)
    tested = whole["done"].artifact.metrics  # type: ignore[union-attr]
    assert f" modeling.r2={tested['r2']:.4g} " in inside("runs", "list").out, "not the score of a fold"
    again = run(words, multirun=True)
    computed = {o.step.call.stage for o in again.outcomes if o.status == "done"}
    assert computed == {"deployment"}, "nothing is computed again; that the version is active already is asked for"
    alone = prepare([*("c=modeling", "modeling/model=linear"), *_winning(done)]).plan.steps
    assert {str(step.action) for step in alone} == {"stored"}, "a single training is the same step"
    assert len(alone) == 2
    _check_folds(best.path, done)  # type: ignore[union-attr]


class FarBehind:
    """Stops what is far behind the best of those before, as soon as its training reports."""

    def __init__(self) -> None:
        self.best: dict[tuple[str, str | None, int], float] = {}

    def should_stop(self, score: PartialScore) -> bool:
        place = score.stage, score.element, score.step
        self.best[place] = max(self.best.get(place, score.value), score.value)
        return score.value < self.best[place] - 0.2


def test_a_pruner_stops_a_hopeless_model_in_its_first_fold_and_the_best_goes_on() -> None:
    boosted = ("modeling/model=hist_gradient_boosting", "model.start=constant", "m_param.folds=1")
    folds = ("modeling/validation=kfold", "validation.k=2", "objective.metric=r2")
    pruner = FarBehind()
    done = run(("c=deployment", *boosted, *folds, "m_param.n_estimators=60,1"), multirun=True, pruner=pruner)
    assert done.exit_code == 0
    ended = {o.step.call.title: o for o in done.outcomes if o.step.jobs == (1,)}
    assert {title: str(o.status) for title, o in ended.items()} == {
        **{f"modeling train [fold {k}/2]": "pruned" for k in (1, 2)},
        **{"validation validate": "pruned", "modeling train": "not chosen", "deployment push": "not chosen"},
    }
    assert ended["deployment push"].reason == ended["modeling train [fold 1/2]"].reason
    store = done.prepared.store
    assert not any(store.has(o.step.key) for o in ended.values())
    assert not [*store.root.glob("tmp/*"), *store.root.glob("checkpoints/*")]
    seen = [place for place in pruner.best if place[0] == "validation"]
    assert seen == [("validation", None, 1)], "the mean after the first of two folds"
    assert {str(o.status) for o in done.outcomes if o.step.jobs == (0,)} == {"done"}


def _winning(done: Run) -> list[str]:
    step = next(o.step for o in done.outcomes if o.step.call.title == "modeling train" and o.status == "done")
    job = dict(enumerate(done.record.jobs()))[step.jobs[0]]
    return [o for o in job["overrides"] if o.startswith(("m_param.alpha", "preprocessing/param"))]


def _check_table(done: Run) -> None:
    shown = inside("runs", "compare", done.record.id).out.splitlines()
    heads, first, *_ = [line for line in shown if line.strip()][:5]
    assert [name for name in heads.split() if "r2" in name] == ["validation.r2", "test.r2"]
    assert first.split().count("±") == 4, "mean ± deviation of each metric"
    rows = json.loads(inside("runs", "compare", done.record.id, "--json").out)["combinations"]
    assert [("modeling.r2" in r["metrics"]) for r in rows] == [True, False, False, False]
    assert all(0 < r["deviations"]["validation.r2"] < 0.3 for r in rows)
    best = inside("runs", "compare", done.record.id, "--metric", "test.r2").out.splitlines()
    assert best[1] == shown[1]


def _check_folds(folder: Path, done: Run) -> None:
    """Each training row is predicted once, by a model that has not seen it; held-out rows never."""
    predicted = pl.read_parquet(folder / "predictions.parquet")
    key = next(o.step for o in done.outcomes if o.step.call.title == "preprocessing prepare").key
    held_out = pl.read_parquet(done.prepared.home / "store" / key[:2] / key / "files" / "rows.parquet")["row"]
    assert predicted["row"].is_unique().all()
    assert not set(predicted["row"]) & set(held_out)
    assert predicted.height + len(held_out) == 398
    assert predicted.group_by("fold").len().sort("fold")["len"].to_list() == [106, 106, 106]
    scores = json.loads((folder / "scores.json").read_text())
    fold = predicted.filter(pl.col("fold") == 1)
    assert scores["folds"][0]["metrics"]["mae"] == pytest.approx(
        (fold["target"] - fold["prediction"]).abs().mean(), rel=1e-9
    )
    assert scores["metrics"]["mae"] == pytest.approx(sum(f["metrics"]["mae"] for f in scores["folds"]) / 3)


@pytest.mark.integration
def test_when_a_training_is_validated_and_by_which_metric() -> None:
    alone = ["preprocessing prepare: run", "modeling train: run"]
    assert titles("c=modeling", *LINEAR) == alone
    assert titles("c=modeling", *LINEAR, "objective.metric=r2", "modeling/validation=none") == alone
    assert titles("c=prediction", *LINEAR, "objective.metric=prediction.r2")[:2] == alone
    for metric in ("r2", "modeling.r2", "validation.r2"):
        ready = prepare(["c=modeling", *LINEAR, f"objective.metric={metric}"])
        assert ready.bound.settings.objective.metric == "validation.r2"
        assert [s.call.title for s in ready.plan.steps][-1] == "modeling train"
        assert len(ready.plan.steps) == 2 + 2 * 5 + 1
    assert "validation validate: run" in titles("c=modeling", *LINEAR, "modeling/validation=holdout")
    every = titles("c=modeling", "modeling/model=linear,random_forest", "objective.metric=r2", multirun=True)
    assert every.count("modeling train: if best") == 2
    none = ("modeling/validation=none", "objective.metric=r2")
    assert titles("c=modeling", "modeling/model=linear,random_forest", *none, multirun=True).count(alone[1]) == 2
    taken = titles("c=modeling", "modeling/model=linear,random_forest", "objective.metric=r2", "objective.then=all",
                   multirun=True)  # fmt: skip
    assert taken.count(alone[1]) == 2
    named = ("modeling/model=linear,random_forest", "model_name=${model.name}", "objective.metric=r2")
    assert titles("c=deployment", *named, multirun=True).count(alone[1]) == 2, "each has a place of its own"
    assert "k=1: expected a whole number" in refused("c=modeling", "modeling/validation=kfold", "validation.k=1")
    assert "modeling/validation=none: there are no folds" in refused("c=validation", "modeling/validation=none")


def test_a_choice_by_the_test_rows_is_noted() -> None:
    def noted(*words: str) -> list[str]:
        found = prepare(["c=modeling", *words, "objective.metric=r2"], multirun=True).notes
        return [note for note in found if "chooses by the test rows" in note]

    several = ("modeling/model=linear", "m_param.alpha=1,2")
    (note,) = noted(*several, "modeling/validation=none")
    assert note.startswith("Note: objective.metric=modeling.r2 chooses by the test rows: for new rows, the best one's ")
    assert not noted(*several)
    assert not noted("modeling/model=linear", "modeling/validation=none"), "nothing is chosen"


@pytest.mark.integration
def test_on_a_terminal_a_validation_is_one_line(table_file: Path) -> None:
    """What the folds print is in their logs; remarks on the data are shown, once."""
    words = (
        *csv(table_file, "day", "part"),
        "p_param.min_frequency=0.2",
        "modeling/model=linear",
        "m_param.alpha=1,1000",
        "objective.metric=r2",
    )
    seen = Terminal("c=modeling", *words, "modeling/validation=kfold", "validation.k=3", "--multirun", columns=80)
    assert seen.finish() == 0
    text = seen.text
    assert len(re.findall(r"^validation validate: done .*\br2=0\.\d+ ± 0\.\d+", text, re.MULTILINE)) == 2, text
    assert not re.search(r"fold \d|linear on 3 folds", text), text
    table = seen.lines[next(n for n, line in enumerate(seen.lines) if line.startswith("jobs ")) :]
    assert table[0].split() == ["jobs", "alpha", *table[0].split()[2:-2], "validation.r2", "test.r2"], text
    assert table[3].startswith("2 combinations, sorted by validation.r2, maximize")
    assert table[4].startswith("All metrics: runs compare 2")
    assert text.count("no feature from: noise") == 2, "of the folds, and of the whole"
    assert text.count("rows to train on") == 2, "of all folds, which have as many, and of the whole"
    assert "modeling train: done" in text
    in_a_pipe = inside("c=validation", *words[:-2], "modeling/validation=kfold", "validation.k=3", "validation.seed=1")
    assert in_a_pipe.out.count("rows to train on") == 3


def test_folds_fit_the_split_and_the_number_of_rows(table_file: Path, tmp_path: Path) -> None:
    def within(*words: str) -> list[str]:
        steps = prepare(["c=validation", *LINEAR, *words]).plan.steps
        splits = [s.call.arguments["split"] for s in steps if s.call.name == "preprocessing prepare"]
        return [type(s.within).__name__ for s in splits]

    data = csv(table_file, "noise", "part")
    assert within(*data) == ["KFoldPart"] * 5
    assert within(*data, "preprocessing/split=time", "split.column=day") == ["TimeWindow"] * 5
    assert within(*data, "preprocessing/split=group", "split.column=shop") == ["GroupPart"] * 5
    long = tmp_path / "long.csv"
    long.write_text("x,y\n" + "1,2\n3,4\n" * 10_001)
    assert within(*csv(long)) == ["HeldOutPart"]
    assert within(*csv(long), "modeling/validation=kfold", "validation.repeats=2") == ["KFoldPart"] * 10
    pl.read_csv(long).write_parquet(tmp_path / "long.parquet")
    as_parquet = ("preprocessing/dataset=parquet", f"dataset.path={tmp_path / 'long.parquet'}", "dataset.target=y")
    assert within(*as_parquet) == ["HeldOutPart"]
    long.write_text("x,y\n" + "1.5,2.5\n3.5,4.5\n" * 13_000)
    done = inside("c=validation", *LINEAR, *csv(long), "modeling/validation=kfold", "validation.k=2")
    note = "Note: long: 20,800 training rows in 2 folds; modeling/validation=holdout trains one model instead of 2"
    assert f"{note}\n" in done.out, done.out + done.err
    message = refused("c=validation", *data, "modeling/validation=group")
    assert message.startswith("validation.column: the column is needed, since the split has none: it holds the groups")


@pytest.fixture
def _encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.usefixtures("_encoding")
def test_a_feature_that_is_fitted_inside_the_folds_tells_nothing_and_one_that_leaks_is_seen(table_file: Path) -> None:
    def score(*words: str) -> float:
        data = csv(table_file, "day", "shop", "part", *([] if words else ["noise"]))
        done = run(["c=validation", *data, *LINEAR, *words], config_dirs=[str(EXAMPLES / "encoding")])
        assert done.exit_code == 0
        return done.metrics["validation.r2"]

    without = score()
    inside_folds = score("c/preprocessing_sub=encode", "+leaks=false")
    once = score("c/preprocessing_sub=encode", "+leaks=true")
    assert inside_folds < without + 0.01, "noise tells nothing"
    assert once > without + 0.05, "the target of the validation rows is in the feature"
    with pytest.raises(BadInput, match="do not read 'split', so each element would give the same"):
        prepare(
            ["c=modeling", "c/preprocessing_sub=fixed", "objective.metric=r2"],
            config_dirs=[str(EXAMPLES / "encoding")],
        )


def test_time_series_validate_forward_in_time(table_file: Path) -> None:
    words = ("modeling/validation=time_series", "validation.column=day", "validation.k=2")
    done = run(["c=validation", *csv(table_file, "noise", "part", "shop"), *LINEAR, *words])
    days = pl.read_csv(table_file)["day"]
    folds = [o.artifact for o in done.outcomes if o.step.call.stage == "preprocessing"]
    spans = []
    for data in folds:
        rows = pl.read_parquet(data.path / "separated.parquet")  # type: ignore[union-attr]
        known, held_out = (sorted(rows.filter(pl.col("held_out") == side)["value"].to_list()) for side in (False, True))
        assert known[-1] < held_out[0]
        spans.append((len(known), held_out[0], held_out[-1]))
    assert spans[0][2] < spans[1][1], "one part after the other"
    assert spans[1][0] > spans[0][0], "on all rows before"
    assert len(days) == 600
