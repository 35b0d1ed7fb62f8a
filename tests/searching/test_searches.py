"""Searches: trials within a budget, conditions, limits, continuing, and what happens with the best one."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
import yaml

from conftest import PROGRAM
from needed import need
from small_pipeline import EXAMPLES, inside, install, steps_run, write
from small_searches import Notes, trials, values
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.pipeline import run
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.runs import Run, RunObserver
from when_ml_pipeline_meets_hydra.searching import settings
from when_ml_pipeline_meets_hydra.searching.conditions import find_space
from when_ml_pipeline_meets_hydra.searching.samplers.random import RandomSampler
from when_ml_pipeline_meets_hydra.searching.search import search
from when_ml_pipeline_meets_hydra.searching.session import Session
from when_ml_pipeline_meets_hydra.searching.settings import settings_of

RACE = str(EXAMPLES / "race")
NAMED = ("+place=shelf", "+data=one", "objective.metric=error")
SPACE = "+value=interval(1.0,5.0)"


@pytest.fixture(autouse=True)
def _race(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def searched(*overrides: str, space: str = SPACE, sampler: str = "random", observer: RunObserver | None = None) -> Run:
    words = ("c=put", space, f"hydra/sweeper={sampler}", *NAMED, *overrides)
    return search(words, config_dirs=[RACE], observer=observer)


def refused(*overrides: str, space: str = SPACE, sampler: str = "random") -> str:
    with pytest.raises(BadInput) as caught:
        searched(*overrides, space=space, sampler=sampler)
    assert not steps_run()
    return str(caught.value)


def test_trials_are_combinations_of_one_run_and_only_the_best_goes_on(own_home: Path) -> None:
    done = inside("c=put", SPACE, *NAMED, "hydra/sweeper=random", "hydra.sweeper.n_trials=6", "--config-dir", RACE)
    assert done.code == 0, done.err
    assert steps_run() == {"measure": 6, "put": 1}
    best = min(values(own_home))
    assert f"put {best} of one in shelf" in done.out
    assert done.out.startswith("Searching with random: 6 trials, study random-")
    (run,) = (own_home / "runs").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert (record["job_count"], record["study"]["trials"], record["study"]["failed"]) == (7, 6, 0)
    assert record["study"]["best"]["values"] == {"+value": best}
    found = yaml.safe_load((run / "optimization_results.yaml").read_text())
    assert found == {"name": "random", "best_params": {"+value": best}, "best_value": best}
    rows = inside("runs", "compare", "last")
    assert rows.code == 0
    assert rows.out.splitlines()[1].split()[2] == f"{best:.6g}"
    again = inside("runs", "rerun", "last")
    assert (again.code, "was a search, whose trials follow from one another" in again.err) == (2, True)
    words = ("c=put", SPACE, *NAMED, "hydra/sweeper=random", "hydra.sweeper.n_trials=7", "--json", "--config-dir", RACE)
    names = [json.loads(line)["event"] for line in inside(*words).out.splitlines()]
    assert [names.count(name) for name in ("run_started", "jobs_added", "note", "run_ended")] == [1, 1, 1, 1]


def test_the_same_command_goes_on_with_more_trials(own_home: Path) -> None:
    searched("hydra.sweeper.n_trials=3")
    first = values(own_home)
    observer = Notes()
    searched("hydra.sweeper.n_trials=5", observer=observer)
    assert values(own_home)[:3] == first
    assert len(values(own_home)) == 5
    assert steps_run()["measure"] == 5
    assert [text.partition(":")[0] for text in observer.texts] == ["trial 3", "trial 4"]
    again = searched("hydra.sweeper.n_trials=5")
    assert again.exit_code == 0
    assert steps_run()["measure"] == 5


def test_a_failed_trial_is_told_as_failed(own_home: Path) -> None:
    observer = Notes()
    space = "+value=choice(fail,none,2,3)"
    done = searched("hydra.sweeper.n_trials=16", space=space, observer=observer)
    assert done.exit_code == 0
    by_value = {trial["values"]["+value"]: trial for trial in trials(own_home)}
    assert by_value["fail"]["error"] == "ValueError: not like that"
    assert by_value["none"]["metrics"] == {}
    assert by_value["2"]["metrics"]["error"] == 2
    assert any("failed: it has no measure.error" in text for text in observer.texts)
    assert steps_run()["measure"] <= 4 + 1  # a failed one may be tried by a later batch
    done = searched("hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=bad", space="+value=choice(fail,fail)")
    assert done.exit_code == 1
    strict = Notes()
    more = ("hydra.sweeper.study_name=strict", "on_error=stop", "hydra.sweeper.n_trials=16")
    done = searched(*more, space=space, observer=strict)
    assert done.exit_code == 1
    assert "The search ends: 1 of 1 trial of a batch failed (on_error=stop)" in strict.texts


@pytest.mark.parametrize(
    ("overrides", "space", "message"),
    [
        ((), "+value=interval(5,1)", "value=5, 1: expected two numbers, the smaller one first"),
        ((), "+value=tag(log,interval(0,1))", "value=0, 1: a logarithmic scale has no numbers up to 0"),
        ((), "+value=tag(pair,choice(1,2))", "the tag 'pair' pairs lists of a sweep"),
        ((), "+value=3", "a search needs a space"),
        ((), "+password=choice(mellon,sesame)", "password: a secret is not searched"),
        (
            ("hydra.sweeper.direction=maximize",),
            SPACE,
            "hydra.sweeper.direction=maximize: objective.metric=measure.error",
        ),
        (("force=[measure]",), SPACE, "force: a search computes each step once"),
        (("objective.then=all",), SPACE, "objective.then=all: a search goes on with the best trial only"),
        (("hydra.sweeper.n_trials=0",), SPACE, "hydra.sweeper.n_trials=0: "),
        (("+hydra.sweeper.storage=sqlite:///x.db",), SPACE, "hydra.sweeper.storage: has no meaning here"),
        (("objective.metric=ship.error",), SPACE, "objective.metric"),
        (("+hydra.sweeper.trials=5",), SPACE, "hydra.sweeper.trials: there is no such key"),
    ],
)
def test_what_cannot_be_searched_is_refused_beforehand(overrides: Sequence[str], space: str, message: str) -> None:
    assert message in refused(*overrides, space=space)


class Interrupts(RunObserver):
    """Interrupts the run, or does something else once, when the step of the n-th trial starts."""

    def __init__(self, number: int, action: Callable[[], object]) -> None:
        self._number, self._action = number, action

    def step_started(self, step: Step) -> None:
        if step.call.stage == "measure" and step.jobs[0] == self._number:
            self._number = -1
            self._action()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_search_goes_on_where_it_was(own_home: Path, tmp_path: Path) -> None:
    budget = "hydra.sweeper.n_trials=6"
    done = searched(budget, "hydra.sweeper.n_jobs=1", observer=Interrupts(3, interrupt))
    assert done.exit_code == 130
    assert [trial.get("has_ended") for trial in trials(own_home)] == [True, True, True, None]
    assert searched(budget).exit_code == 0
    assert [trial["has_ended"] for trial in trials(own_home)] == [True] * 6
    assert steps_run() == {"measure": 6, "put": 1}
    searched(budget, f"home={tmp_path / 'other'}")
    assert values(tmp_path / "other") == values(own_home)
    assert not list((own_home / "studies").glob("*/workers/*"))


def test_two_searches_work_at_one_study(own_home: Path) -> None:
    budget = "hydra.sweeper.n_trials=8"
    other = Notes()
    first = Notes()
    first.step_started = Interrupts(2, lambda: searched(budget, observer=other)).step_started  # type: ignore[method-assign]
    assert searched(budget, observer=first).exit_code == 0
    assert len(set(values(own_home))) == 8
    assert [n["number"] for n in trials(own_home)] == list(range(8))
    assert steps_run() == {"measure": 8, "put": 1}
    assert "Another process runs 1 trial, and goes on with the best" in other.texts
    assert sum("trial" in text.partition(" ")[0] for text in first.texts) == 3


def test_a_file_of_hydras_plugin_is_understood(own_home: Path, tmp_path: Path) -> None:
    need("optuna")
    folder = tmp_path / "conf" / "hydra" / "sweeper"
    folder.mkdir(parents=True)
    (folder / "race_params.yaml").write_text(
        "defaults:\n  # Select here which hyperparameter optimization library to use.\n  - optuna\n\n"
        "sampler:\n  warn_independent_sampling: true\n\nstudy_name: race_params\nn_trials: 9\nn_jobs: 3\n"
        "storage: null\nmax_failure_rate: 0.0\ndirection:\n  # It depends on what is returned.\n  - minimize\n\n"
        "params:\n  +value: tag(log, interval(1.e-5, 1.e-3))\n  +place: choice(shelf, board)\n"
    )
    words = ["c=put", "+data=one", "objective.metric=error", "hydra/sweeper=race_params", "--multirun"]
    dirs = ["--config-dir", RACE, "--config-dir", str(tmp_path / "conf")]
    done = inside(*words, *dirs)
    assert done.code == 0, done.err
    found = values(own_home)
    assert len(found) == 9
    assert all(1e-5 <= value <= 1e-3 for value in found)
    (run,) = (own_home / "runs").iterdir()
    results = yaml.safe_load((run / "optimization_results.yaml").read_text())
    assert results["best_value"] == min(found)
    assert list(results["best_params"]) == ["+value", "+place"]
    done = inside(*words, "hydra/sweeper/sampler=cmaes", *dirs)
    assert (done.code, "CmaEsSampler needs the package cmaes" in done.err) == (2, True)
    done = inside(*words, "+hydra.sweeper.sampler.startup=3", *dirs)
    assert "hydra.sweeper.sampler.startup: TPESampler has no such value" in done.err


MORE = (pytest.param(name, marks=pytest.mark.integration("optuna")) for name in ("random", "nsgaiii", "brute_force"))


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "qmc", "grid", *MORE])
def test_samplers_of_optuna(sampler: str, own_home: Path, tmp_path: Path) -> None:
    need("optuna")
    words = ("c=measure", "+data=one", "objective.metric=error", "+value=range(1.0,4.0,0.25)", "hydra/sweeper=optuna")
    sampled = (*words, f"hydra/sweeper/sampler={sampler}")
    assert search([*sampled, "hydra.sweeper.n_trials=15"], config_dirs=[RACE]).exit_code == 0
    assert len(values(own_home)) == (12 if sampler in ("brute_force", "grid") else 15)
    for count in (4, 15):
        search([*sampled, f"hydra.sweeper.n_trials={count}", f"home={tmp_path / 'other'}"], config_dirs=[RACE])
    assert values(tmp_path / "other") == values(own_home)


@pytest.mark.integration("ax", "nevergrad")
@pytest.mark.parametrize("library", ["ax", "nevergrad"])
def test_other_libraries(library: str, own_home: Path) -> None:
    words = ("c=measure", "+data=one", "objective.metric=error", f"hydra/sweeper={library}")
    space = ("+value=tag(log,interval(1,100))", "+n=range(1,4)", "+m=int(interval(1,8))", "+word=choice(a,b)")
    for count in (5, 8):
        done = search([*words, *space, f"hydra.sweeper.n_trials={count}", "hydra.sweeper.n_jobs=2"], config_dirs=[RACE])
        assert done.exit_code == 0
    found = trials(own_home)
    assert len(found) == 8
    for trial in found:
        assert trial["values"]["+n"] in (1, 2, 3)
        assert trial["values"]["+m"] in range(1, 9)
        assert trial["values"]["+word"] in ("a", "b")


@pytest.mark.integration
def test_killed_at_random_moments_no_trial_is_lost_and_none_is_twice(own_home: Path) -> None:
    words = ["c=put", SPACE, *NAMED, "hydra/sweeper=random", "hydra.sweeper.n_trials=40", "--config-dir", RACE]
    random = Random(0)
    for _ in range(10):
        process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0 + random.random())
        process.kill()
        process.wait()
    assert inside(*words).code == 0
    assert [trial["number"] for trial in trials(own_home)] == list(range(40))
    assert all(trial["has_ended"] for trial in trials(own_home))
    assert not list((own_home / "studies").glob("*/workers/*"))
    home = own_home.with_name("fresh")
    assert inside(*words, f"home={home}").code == 0
    assert values(home) == values(own_home)


@pytest.mark.integration
def test_two_processes_make_each_trial_once(own_home: Path) -> None:
    words = ["c=put", SPACE, *NAMED, "hydra/sweeper=random", "hydra.sweeper.n_trials=40", "--config-dir", RACE]
    both = [subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(set(values(own_home))) == 40
    assert steps_run()["measure"] == 40
    assert len({trial["run"] for trial in trials(own_home)}) == 2


DRILL = str(EXAMPLES / "drill")


@pytest.mark.parametrize("manner", ["raises", "silent"])
def test_a_pruned_trial_stops_early_and_counts_as_one(manner: str, own_home: Path) -> None:
    need("optuna")
    words = ["c=perform", "+talent=interval(0.1,2.0)", f"+manner={manner}", "+turns=[1,2,3]", "+hall=great"]
    searching = ("objective.metric=audition.score", "hydra/sweeper=optuna", "hydra/sweeper/pruner=median")
    observer = Notes()
    pruner = "hydra.sweeper.pruner.n_startup_trials=2"
    done = search([*words, *searching, pruner, "hydra.sweeper.n_trials=8"], config_dirs=[DRILL], observer=observer)
    assert done.exit_code == 0
    pruned = [trial for trial in trials(own_home) if trial.get("is_pruned")]
    assert 1 <= len(pruned) < 6
    assert all(trial["error"].startswith("pruned at step ") for trial in pruned)
    assert sum(" pruned at step " in text for text in observer.texts) == len(pruned)
    assert done.record.head["study"]["pruned"] == len(pruned)
    trained = steps_run()["practise"]
    assert trained < 8 * 3 + 3
    search([*words, *searching, pruner, "hydra.sweeper.n_trials=8"], config_dirs=[DRILL])
    assert steps_run()["practise"] == trained
    with pytest.raises(BadInput, match=r"hydra.sweeper.pruner.startup: MedianPruner has no such value"):
        search([*words, *searching, "+hydra.sweeper.pruner.startup=2"], config_dirs=[DRILL])


def test_a_warm_start_begins_with_the_results_of_a_sweep(own_home: Path) -> None:
    run(("c=measure", "+value=1.5,2,7,fail", "+data=one", "objective.metric=error"), multirun=True, config_dirs=[RACE])
    observer = Notes()
    warm = "hydra.sweeper.warm_start=true"
    done = searched("hydra.sweeper.n_trials=2", warm, space="+value=interval(1.5,5.0)", observer=observer)
    assert done.exit_code == 0
    assert observer.texts[0] == "2 results of earlier runs are known: the best is measure.error=1.5"
    assert steps_run() == {"measure": 4 + 2, "put": 1}
    found = trials(own_home)
    assert [trial["number"] for trial in found] == [-2, -1, 0, 1]
    assert done.record.head["study"]["best"]["values"] == {"+value": 1.5}
    observer = Notes()
    searched("hydra.sweeper.n_trials=3", warm, space="+value=interval(1.5,5.0)", observer=observer)
    assert [text.partition(":")[0] for text in observer.texts] == ["trial 2"]


MODELS = "modeling/model=choice(linear,hist_gradient_boosting)"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (("m_param.learning_rate=interval(0.1,7)",), "m_param.learning_rate=7: expected a number, 0 < x < 1"),
        (("m_param.learning_rate=interval(0.1,7)",), "Change its limits: the space is from 0.1 to 7"),
        (("m_param.learning_rat=interval(0.1,0.2)",), "there is no such key with any drawn option of modeling/model"),
        (("m_param.learning_rat=interval(0.1,0.2)",), "m_param.learning_rate"),
        (("m_param.n_estimators=choice(5,-1)",), "m_param.n_estimators=-1: expected a whole number"),
        (("m_param.alpha=interval(1,2)", "p_param.x=1"), "p_param.x: there is no such key"),
        (("m_param.alpha=interval(1,2)", "hydra.sweeper.direction=minimize"), "validation.r2 is to be maximized"),
    ],
)
def test_spaces_of_models_are_refused_beforehand(space: Sequence[str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        search(["c=modeling", MODELS, "objective.metric=r2", "hydra/sweeper=random", *space])
    assert message in str(caught.value)


def test_hyperparameters_are_drawn_where_the_drawn_model_has_them() -> None:
    words = (
        MODELS,
        "m_param.learning_rate=interval(0.1,0.2)",
        "m_param.n_estimators=interval(2,50)",
        "m_param.alpha=1,2",
    )
    session = Session(Request(overrides=("c=modeling", "hydra/sweeper=random", *words)), RunObserver())
    space, corners = find_space(session.composer.drawn, lambda points: session.problems(points)[1])
    names = {"modeling/model": "linear"}, {"modeling/model": "hist_gradient_boosting"}
    found = [{d.name: d.is_whole for d in space.drawn_with(options) if not d.values} for options in names]
    assert found == [{}, {"m_param.learning_rate": False, "m_param.n_estimators": True}]
    assert len(corners) == 2
    for number in range(20):
        proposal = RandomSampler(space, 0, settings_of({"library": "random"})).ask(number)
        is_linear = proposal.values["modeling/model"] == "linear"
        assert set(proposal.values) - {"modeling/model"} == (
            {"m_param.alpha"} if is_linear else {"m_param.learning_rate", "m_param.n_estimators"}
        )


def test_keys_of_hydras_other_plugins_have_names_of_ours_or_are_refused() -> None:
    optim = {"optimizer": "OnePlusOne", "budget": 80, "num_workers": 2, "noisy": False, "maximize": True, "seed": 3}
    found = settings_of({"library": "random", "optim": optim})
    assert (found.n_trials, found.n_jobs, found.directions, found.seed) == (80, 2, ["maximize"], 3)
    assert found.optim == {"optimizer": "OnePlusOne"}
    for key in ("ax_config", "parametrization", "max_batch_size", "custom_search_space"):
        with pytest.raises(BadInput, match=f"hydra.sweeper.{key}: has no meaning here. Write|Conditions"):
            settings_of({"library": "random", key: {"x": 1}})
    with pytest.raises(BadInput, match=r"optim\.noisy: has no meaning here"):
        settings_of({"library": "random", "optim": {**optim, "noisy": True}})
    note = "Note: hydra.sweeper.sampler.consider_prior has no effect with Optuna 5"
    assert settings_of({"library": "optuna", "sampler": {"consider_prior": True}}).notes == [note]


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    assert "pip install 'when_ml_pipeline_meets_hydra[nevergrad]'" in refused(sampler="nevergrad")


@pytest.mark.integration("torch", "optuna")
def test_the_search_of_a_networks_template(own_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "hydra" / "sweeper"
    folder.mkdir(parents=True)
    (folder / "fcn_params.yaml").write_text(
        "defaults:\n  - optuna\n\nsampler:\n  warn_independent_sampling: true\n\nstudy_name: fcn_params\n"
        "n_trials: 25\nn_jobs: 3\ndirection:\n  - maximize\n\nparams:\n"
        "  m_param.learning_rate: tag(log, interval(1.e-5, 1.e-3))\n  model.num_hidden: range(1, 4)\n"
        "  model.dropout_prob: choice(0.0, 0.1)\n"
    )
    words = ("c=modeling", "modeling/model=fcn", "m_param.epochs=2", "modeling/validation=holdout")
    done = inside(*words, "--multirun", "hydra/sweeper=fcn_params", "--config-dir", str(tmp_path / "conf"))
    assert done.code == 0, done.err
    found = trials(own_home)
    assert len(found) == 25
    assert {trial["values"]["model.num_hidden"] for trial in found} <= {1, 2, 3}
    assert all(1e-5 <= trial["values"]["m_param.learning_rate"] <= 1e-3 for trial in found)
    (run,) = (own_home / "runs").iterdir()
    best = yaml.safe_load((run / "optimization_results.yaml").read_text())["best_value"]
    assert best == max(trial["metrics"]["r2"] for trial in found)


def test_a_search_is_no_plan() -> None:
    done = inside("plan", "c=put", SPACE, *NAMED, "hydra/sweeper=random", "--config-dir", RACE)
    assert done.code == 2
    assert "hydra/sweeper: is a search, which proposes its trials one after the other" in done.err


def test_optuna_proposes_the_same_trials_in_one_run_and_in_several(own_home: Path, tmp_path: Path) -> None:
    need("optuna")
    budget = ("hydra.sweeper.n_jobs=1",)
    searched("hydra.sweeper.n_trials=14", *budget, sampler="optuna")
    whole = values(own_home)
    home = tmp_path / "other"
    for count in (4, 11, 14):
        searched(f"hydra.sweeper.n_trials={count}", f"home={home}", *budget, sampler="optuna")
    assert values(home) == whole
    assert min(whole) < 1.2


def test_without_a_metric_a_validation_score_decides(own_home: Path) -> None:
    words = ["c=modeling", "preprocessing/dataset=breast_cancer", "modeling/model=linear"]
    words += ["m_param.alpha=interval(0.1,10)"]
    done = inside(*words, "hydra/sweeper=random", "hydra.sweeper.n_trials=2")
    assert (done.code, "Note" in done.err) == (0, False), done.err
    assert "trial 1: validation.accuracy=0." in done.err
    assert "2 combinations, sorted by validation.accuracy, maximize" in done.err
    (run,) = (own_home / "runs").iterdir()
    command = " ".join((*words[:3], "m_param.alpha="))
    assert f"wmh {command}" in (run / "search.html").read_text()
    tested = re.search(r"^modeling train: done .* (accuracy=\S+)", done.err, re.MULTILINE)
    assert tested
    assert f" modeling.{tested[1]} " in inside("runs", "list").out, "not the score of a fold"
    noted = inside(*words, "hydra/sweeper=random", "hydra.sweeper.n_trials=1", "modeling/validation=none")
    assert "Note: objective.metric=modeling.r2 chooses by the test rows" in noted.err


def test_what_is_wrong_around_a_search_is_reported(own_home: Path, tmp_path: Path) -> None:
    write(tmp_path / "conf", {"hydra/sweeper/broken.yaml": "n_trials: [2\n"})
    words = ("c=modeling", "modeling/model=linear")
    for wrong, message in {
        ("modeling/model=interval(1,2)", "hydra/sweeper=random"): "modeling/model: an interval is for numbers",
        ("m_param.alpha=interval(1,2)", "hydra/sweeper=broken"): "its file cannot be read",
        (
            "m_param.alpha=interval(1,2)",
            "hydra/sweeper=rondom",
        ): "Nothing ran: 1 problem\n  hydra/sweeper=rondom: there",
        ("m_param.alpha=interval(1,2)", "hydra/sweeper=pruner/median"): "there is no such option",
    }.items():
        done = inside(*words, *wrong, "--config-dir", str(tmp_path / "conf"))
        assert (done.code, message in done.err) == (2, True), done.err
    with pytest.raises(BadInput, match="nothing can be written there"):
        searched("home=/proc/nowhere")
    observer = Notes()
    missing = ("objective.metric=measure.nothing", "objective.direction=minimize")
    assert searched("hydra.sweeper.n_trials=3", *missing, observer=observer).exit_code == 1
    assert observer.texts[0].startswith("The search ends: no trial has measure.nothing. They have measure.error, ")
    assert steps_run() == {"measure": 1}
    (file,) = (own_home / "studies").glob("*/trials.jsonl")
    whole = file.read_text()
    another = re.sub(r'(": 0\.)(\d)', lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", whole)  # numbers, still valid
    for changed in (another, whole.replace('"error": ', '"error": "x", "other": ', 1), "{}\n"):
        assert changed != whole
        file.write_text(changed)
        with pytest.raises(BadInput, match="this study is damaged"):
            searched("hydra.sweeper.n_trials=3", *missing)


def test_a_search_among_seeds_is_noted() -> None:
    observer = Notes()
    searched("hydra.sweeper.n_trials=1", "seed=1,2", observer=observer)
    assert observer.texts[0].startswith("Note: seed is drawn, which also decides what rows are held out")


def test_a_search_that_is_stopped_has_a_report_or_says_why_there_is_none(own_home: Path) -> None:
    failing = ("+value=choice(fail,no)", "hydra.sweeper.max_failure_rate=0", "hydra.sweeper.n_trials=4")
    done = searched(*failing[1:], space=failing[0])
    assert done.exit_code == 1
    assert Path(done.record.head["study"]["report"]).is_file()


def test_a_study_that_has_ended_says_so() -> None:
    observer = Notes()
    searched("hydra.sweeper.n_trials=2")
    searched("hydra.sweeper.n_trials=2", observer=observer)
    assert "The study has 2 trials, and the budget allows no further one" in observer.texts
