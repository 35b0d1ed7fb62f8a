"""Searches with several objectives and with constraints, and what they are compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from needed import need
from small_pipeline import EXAMPLES, inside, install, steps_run, write
from small_searches import Notes, trials, values
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.runs import Run, RunObserver
from when_ml_pipeline_meets_hydra.searching.samplers import make_sampler
from when_ml_pipeline_meets_hydra.searching.samplers.interface import Scores
from when_ml_pipeline_meets_hydra.searching.search import search
from when_ml_pipeline_meets_hydra.searching.settings import settings_of
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space

RACE = ("--config-dir", str(EXAMPLES / "race"))
BOTH = ("objective.metric=[error,mine]", "objective.direction=[minimize,maximize]")
SPACE = "+value=choice(1.0,2.0,3.0,4.0)"


@pytest.fixture(autouse=True)
def _race(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def searched(*overrides: str, observer: RunObserver | None = None) -> Run:
    words = ("c=put", "+place=shelf", "+data=one", "hydra/sweeper=random", *overrides)
    return search(words, config_dirs=RACE[1:], observer=observer)


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        searched(*overrides)
    assert not steps_run()
    return str(caught.value)


def test_several_objectives_end_with_a_front_of_which_the_first_metric_chooses(own_home: Path) -> None:
    limit = 'objective.constraints=["mine >= 2"]'
    words = ("c=put", "+place=shelf", "+data=one", SPACE, *BOTH, limit, "hydra/sweeper=random")
    done = inside(*words, "hydra.sweeper.n_trials=12", *RACE)
    assert done.code == 0, done.err
    assert "put 2.0 of one in shelf" in done.out
    assert "on the Pareto front of measure.error and measure.mine: the best in measure.error, trial" in done.err
    assert "infeasible (measure.mine=1, allowed >= 2)" in done.err
    record = Record(next((own_home / "runs").iterdir()))
    study = record.head["study"]
    fronts = [t for t in record.trials if t.is_on_front]
    assert [t.scores for t in fronts] == [{"measure.error": v, "measure.mine": v} for v in (2.0, 3.0, 4.0)]
    assert [t["values"]["+value"] for t in study["front"]] == ["2.0", "3.0", "4.0"]
    broken = [t for t in record.trials if t.status == "infeasible"]
    assert study["infeasible"] == len(broken) > 0
    assert {t.error for t in broken} == {"measure.mine=1, allowed >= 2"}
    assert record.trials[-len(broken) :] == broken
    results = yaml.safe_load((record.folder / "optimization_results.yaml").read_text())
    assert results["solutions"] == [{"params": {"+value": v}, "values": [v, v]} for v in (2.0, 3.0, 4.0)]
    page = (record.folder / "search.html").read_text()
    assert '<section id="front">' in page
    assert page.count("<pre><code>wmh ") == 3
    shown = inside("runs", "show", "last").out
    assert f"\nfront: trials {', '.join(t.name for t in fronts)}\n" in shown
    rows = json.loads(inside("runs", "compare", "last", "--json").out)["combinations"]
    assert [row.get("standing") for row in rows] == ["front"] * 3 + ["infeasible"]
    table = [line.split()[2] for line in inside("runs", "compare", "last").out.splitlines()[:5]]
    assert table == ["standing", "front", "front", "front", "infeasible"]


def test_a_trial_that_breaks_a_constraint_is_never_chosen(own_home: Path) -> None:
    observer = Notes()
    named = ("objective.metric=error", SPACE, "hydra.sweeper.n_trials=16")
    done = searched(*named, 'objective.constraints=["measure.mine >= 2.5", "height >= -3.5"]', observer=observer)
    assert (done.exit_code, done.record.head["study"]["best"]["values"]) == (0, {"+value": "3.0"})
    assert [t["measured"] for t in trials(own_home)] == [
        {"measure.mine": float(v), "measure.height": -float(v)} for v in values(own_home)
    ]
    done = searched(*named, 'objective.constraints=["mine >= 9"]', observer=observer)
    assert (done.exit_code, observer.texts[-1]) == (3, "None of 16 trials keeps to the constraints, so none goes on")
    assert steps_run() == {"measure": 4, "put": 1}
    done = searched(*named, 'objective.constraints=["nothing >= 9"]', observer=observer)
    assert observer.texts[-2].startswith("The search ends: no trial has measure.nothing. They have measure.error")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*BOTH[:1],), "objective.metric=mine: no step of this run says which way it is better"),
        ((BOTH[0], "objective.direction=minimize"), "objective.direction: expected a direction for each metric, 2"),
        (
            (*BOTH, "hydra.sweeper.direction=[minimize]"),
            "hydra.sweeper.direction=minimize: expected 2 directions, as objective.metric has 2 metrics",
        ),
        (
            ("objective.metric=[error,height]", "hydra.sweeper.direction=[minimize,minimize]"),
            "hydra.sweeper.direction=minimize: objective.metric=measure.height is to be maximized",
        ),
        (("objective.metric=[error,measure.error]",), "these are one metric under several names"),
        (("objective.metric=[error,height]", "objective.then=all"), "a search goes on with the best trial only"),
        (("objective.metric=error", 'objective.constraints=["mine < 3"]'), "mine < 3: this is no constraint"),
        (("objective.metric=error", 'objective.constraints=["heigth >= 3"]'), "declares no heigth. Did you mean"),
        (("objective.metric=error", "objective.constraints=[exptests]"), "Add that stage: c=exptests"),
        (
            ("objective.metric=error", 'objective.constraints=["mine >= 1","measure.mine >= 2"]'),
            "objective.constraints: one number is limited twice",
        ),
    ],
)
def test_ambiguous_objectives_and_constraints_are_refused(overrides: Sequence[str], message: str) -> None:
    assert message in refused(SPACE, *overrides)


def test_pruners_and_samplers_of_one_objective_refuse_several() -> None:
    need("optuna")
    assert "a pruner compares one metric, and objective.metric names 2" in refused(
        SPACE, *BOTH, "hydra/sweeper/pruner=median"
    )
    number = "+value=interval(1.0,4.0)"
    options = {"_target_": "optuna.samplers.CmaEsSampler"}
    with pytest.raises(BadInput, match=r"CmaEsSampler has one objective, and objective.metric names 2"):
        make_sampler(
            settings_of({"library": "optuna", "sampler": options}), space_of("interval"), 0, objectives=2, constraints=0
        )
    for wrong, expected in {
        "n_startup_trials=-5": "a whole number, at least 0",
        "n_ei_candidates=0": "at least 1",
    }.items():
        message = refused(number, "objective.metric=error", "hydra/sweeper=optuna", f"+hydra.sweeper.sampler.{wrong}")
        assert f"hydra.sweeper.sampler.{wrong}: TPESampler expects" in message
        assert expected in message
    words = ("c=measure", "+value=1,2", "+data=one", *BOTH, "--multirun", *RACE)
    assert "objective.metric: several metrics are for a search" in inside(*words).err


def space_of(kind: str) -> Space:
    dimension = Dimension(key="x", values=("1", "2")) if kind == "choice" else Dimension(key="x", low=0.0, high=4.0)
    return Space(groups=(), others=(dimension,), active=lambda _: {"x"})


LEARNING = [
    *(
        pytest.param({"library": "optuna", "sampler": {"_target_": f"optuna.samplers.{n}Sampler"}}, id=n)
        for n in ("TPE", "NSGAII", "NSGAIII", "Random", "QMC")
    ),
    pytest.param({"library": "ax"}, id="ax", marks=pytest.mark.integration("ax")),
    pytest.param({"library": "nevergrad"}, id="nevergrad", marks=pytest.mark.integration("nevergrad")),
]


@pytest.mark.parametrize("options", LEARNING)
def test_samplers_are_told_of_objectives_and_constraints(options: dict[str, object]) -> None:
    need(str(options["library"]))
    n_trials = 7 if options["library"] == "ax" else 12  # 5 of Ax are drawn at random; each further one takes seconds
    settings = settings_of({**options, "n_trials": n_trials, "n_jobs": 1})
    told = []
    for _ in range(2):
        sampler = make_sampler(settings, space_of("interval"), 3, objectives=2, constraints=1)
        drawn = []
        for number in range(n_trials):
            proposal = sampler.ask(number)
            assert proposal is not None
            x = float(proposal.values["x"])
            drawn.append(x)
            sampler.tell(number, None if number == 4 else Scores(values=(x, -x), violations=(1.0 - x,)))
        told.append(drawn)
    assert told[0] == told[1]
    assert len(set(told[0])) > n_trials / 2


def test_the_default_combination_is_the_first_trial_and_what_the_best_is_compared_with(own_home: Path) -> None:
    words = ("c=modeling", "preprocessing/dataset=wine", "modeling/model=linear", "modeling/validation=holdout")
    searching = ("hydra/sweeper=random", "hydra.sweeper.n_trials=2", "objective.metric=log_loss")
    done = inside(*words, "m_param.knots=interval(2,6)", *searching)
    assert done.code == 0, done.err
    assert trials(own_home)[0]["values"] == {"m_param.knots": 5}
    assert "the default combination, whose validation.log_loss is 0." in done.err
    limit = 'objective.constraints=["model_bytes <= 10"]'
    size = inside(*words, "m_param.knots=interval(2,3)", *searching, "hydra.sweeper.default_first=false", limit)
    assert (size.code, "infeasible (validation.model_bytes=" in size.err) == (3, True), size.err


def test_a_sweeper_in_a_file_of_experiments_is_enough(own_home: Path, tmp_path: Path) -> None:
    file = "# @package _global_\n# X\ndefaults:\n  - override /hydra/sweeper: random\n"
    more = "hydra:\n  sweeper:\n    n_trials: 2\n    params:\n      +value: interval(1.0,5.0)\n"
    folder = write(tmp_path / "conf", {"experiment/mine.yaml": file + more})
    words = ("c=measure", "+data=one", "experiment=mine", "objective.metric=error", *RACE, "--config-dir", folder)
    done = inside(*words)
    assert (done.code, len(values(own_home))) == (0, 2), done.err
    assert "2 of 2" in done.err
    plan = inside("plan", *words)
    assert (plan.code, "The command line without the word plan runs it" in plan.err) == (2, True)


def test_limits_of_texts_and_without_a_whole_number_are_refused(own_home: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.name: this is a text, of which no numbers are drawn"):
        search(["c=modeling", "modeling/model=linear", "model.name=interval(1,2)", "hydra/sweeper=random"])
    assert "value: there is no whole number between the limits" in refused(
        "objective.metric=error", "+value=int(interval(.2,.8))"
    )
    searched("objective.metric=error", "+value=int(interval(0.5,2.7))", "hydra.sweeper.n_trials=5")
    assert set(values(own_home)) == {1, 2}
    (head,) = (own_home / "studies").glob("*/study.json")
    head.write_text(head.read_text().replace("minimize", "maximize"))
    with pytest.raises(BadInput, match="this study is damaged"):
        searched("objective.metric=error", "+value=int(interval(0.5,2.7))", "hydra.sweeper.n_trials=6")
