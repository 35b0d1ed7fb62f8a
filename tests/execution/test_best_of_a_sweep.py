"""Several combinations of a sweep claim one place: the best is chosen when all candidates have ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from execution.test_runners import InPool, outcomes
from small_pipeline import EXAMPLES, inside, install, steps_run
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers
from when_ml_pipeline_meets_hydra.execution.runners.waves import Waves
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.runs import Prepared, Run

RACE = str(EXAMPLES / "race")
NAMED = ("+place=shelf", "+data=one")


@pytest.fixture(autouse=True)
def _race(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def planned(*overrides: str) -> Prepared:
    return prepare(("c=measure,look,put", *overrides), multirun=True, config_dirs=[RACE])


def raced(*overrides: str) -> Run:
    return run(("c=measure,look,put", *overrides), multirun=True, config_dirs=[RACE])


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        planned(*overrides)
    return str(caught.value)


def value_of(outcome: Outcome) -> str:
    value = outcome.step.call.arguments["value"]
    return value if isinstance(value, str) else f"{value:g}"


def ends(done: Run) -> list[tuple[str, str]]:
    """The status of ``put`` for each value, in order."""
    puts = [o for o in done.outcomes if o.step.call.stage == "put"]
    return [(value_of(o), str(o.status)) for o in sorted(puts, key=lambda o: o.step.jobs[0])]


def test_without_a_metric_it_is_refused_beforehand() -> None:
    text = refused("+value=3,1,2", *NAMED)
    assert text.startswith(
        "objective.metric: 3 combinations would take the place shelf, each in place of the one before (in jobs 6, 7, 8)"
    )
    assert "(objective.metric=error|height)" in text
    assert "objective.then=all" in text
    assert not steps_run()


def test_the_plan_says_which_steps_depend_on_the_choice() -> None:
    steps = planned("+value=3,1,2", *NAMED, "objective.metric=error").plan.steps
    assert Counter((s.call.stage, str(s.action)) for s in steps) == {
        ("measure", "run"): 3,
        ("look", "if best"): 3,
        ("put", "if best"): 3,
    }
    assert {s.reason for s in steps if s.call.stage == "put"} == {"smallest error of 3 combinations"}


def test_the_best_is_put_and_the_others_end_as_not_chosen() -> None:
    done = raced("+value=3,1,2", *NAMED, "objective.metric=error")
    assert done.exit_code == 0
    assert ends(done) == [("3", "not chosen"), ("1", "done"), ("2", "not chosen")]
    assert steps_run() == {"measure": 3, "look": 1, "put": 1}
    reasons = {o.reason for o in done.outcomes if o.status == "not chosen"}
    assert "error=3, the best one is error=1 in job 1" in reasons
    again = raced("+value=3,1,2", *NAMED, "objective.metric=error")
    assert ends(again) == ends(done)
    assert steps_run() == {"measure": 3, "look": 1, "put": 2}, "what is stored is loaded, effects run again"
    assert {o.status for o in again.outcomes if o.step.call.stage == "look"} == {"stored", "not chosen"}


@pytest.mark.parametrize(
    ("words", "best"),
    [
        (("objective.metric=height",), "1"),
        (("objective.metric=measure.error",), "1"),
        (("objective.metric=mine", "objective.direction=maximize"), "3"),
        (("objective.metric=error", "force=[look,put]"), "1"),
    ],
)
def test_each_metric_says_which_way_is_better(words: tuple[str, ...], best: str) -> None:
    done = raced("+value=3,1,2", *NAMED, *words)
    assert [value for value, status in ends(done) if status == "done"] == [best]


def test_a_direction_against_the_nature_of_a_metric_is_refused() -> None:
    assert refused("+value=3", *NAMED, "objective.metric=error", "objective.direction=maximize").startswith(
        "objective.direction=maximize: error is better the smaller it is"
    )
    text = refused("+value=3", *NAMED, "objective.metric=mine")
    assert text.startswith("objective.metric=mine: no step of this run says which way it is better")
    assert "objective.direction=maximize or minimize" in text
    assert "Did you mean 'error'?" in refused("+value=3", *NAMED, "objective.metric=eror")


def test_failed_candidates_take_no_part_and_one_without_the_metric_is_not_the_best() -> None:
    done = raced("+value=fail,3,other,2", *NAMED, "objective.metric=error")
    assert done.exit_code == 1
    assert ends(done) == [("fail", "skipped"), ("3", "not chosen"), ("other", "not chosen"), ("2", "done")]


def test_where_no_candidate_has_the_metric_nothing_is_put_and_the_run_fails() -> None:
    done = raced("+value=none,other", *NAMED, "objective.metric=error")
    assert done.exit_code == 1
    assert not steps_run()["put"]
    errors = {o.error for o in done.outcomes if o.error}
    assert errors == {"none of the 2 combinations has the metric error: they have mine"}


def test_the_best_is_chosen_for_each_data_set_and_place() -> None:
    both = ("+value=3,1", "+data=one,two", "objective.metric=error")
    done = raced(*both, "+place='${data}'")
    assert Counter(status for _, status in ends(done)) == {"done": 2, "not chosen": 2}
    assert refused(*both, "+place=shelf").startswith("objective: the best of each data set would take the place shelf")
    apart = raced("+value=3,1", "+data=one", "+place=left,right", "objective.metric=error")
    assert ends(apart) == [("3", "not chosen"), ("3", "not chosen"), ("1", "done"), ("1", "done")]


def test_one_name_for_several_data_sets_is_refused_and_their_own_names_are_not() -> None:
    words = ["c=deployment", "preprocessing/dataset=cars,planes", "modeling/model=linear,random_forest"]
    words.append("objective.metric=rmse")
    with pytest.raises(BadInput) as caught:
        prepare([*words, "model_name=mine"], multirun=True)
    (problem,) = caught.value.problems
    assert str(problem).startswith(
        "objective: the best of each data set would take the name 'mine' on local, each in place of the one before"
    )
    assert "Leave model_name out" in str(problem)
    assert "model_name='…-${dataset.name}'" in str(problem)
    for name in ((), ("model_name='mine-${dataset.name}'",)):
        pushes = [s for s in prepare([*words, *name], multirun=True).plan.steps if s.call.stage == "deployment"]
        assert [str(s.reason) for s in pushes] == ["smallest rmse of 2 combinations"] * 4


def test_all_turns_the_choice_off_and_what_claims_nothing_is_never_refused() -> None:
    assert Counter(status for _, status in ends(raced("+value=3,1,2", *NAMED, "objective.then=all"))) == {"done": 3}
    shown = raced("+value=3,1,2", *NAMED, "c/put_sub=show", "objective.metric=error")
    assert Counter(status for _, status in ends(shown)) == {"done": 3}
    assert ends(raced("+value=3,3.0", *NAMED))[0][1] == "done", "equal combinations are one step"


@pytest.mark.parametrize("runner", [InProcess, lambda: Workers(3), lambda: Waves(InPool())])
def test_every_launcher_chooses_the_same(runner: Callable[[], Runner]) -> None:
    ready = planned("+value=fail,3,2,5,2.0", *NAMED, "objective.metric=error")
    found = outcomes(ready, runner())
    put = {(value_of(o), str(o.status)) for o in found if o.step.call.stage == "put"}
    assert put == {("fail", "skipped"), ("3", "not chosen"), ("2", "done"), ("5", "not chosen")}
    assert steps_run() == {"measure": 4, "look": 1, "put": 1}


def test_the_record_the_tables_and_json_know_it() -> None:
    words = ("--config-dir", RACE, "c=measure,put", "+value=3,1", *NAMED, "objective.metric=error", "--multirun")
    lines = [json.loads(line) for line in inside(*words, "--json").out.splitlines()]
    assert [s["action"] for s in lines[0]["steps"]] == ["run", "if best", "run", "if best"]
    assert {e["status"] for e in lines if e["event"] == "step_ended"} == {"done", "not chosen"}
    assert lines[-1]["counts"] == {"done": 3, "not chosen": 1}
    assert [c["status"] for c in lines[-1]["combinations"]] == ["not chosen", "done"]
    assert lines[-1]["exit_code"] == 0
    plan = inside("plan", *words)
    assert "if best  smallest error of 2 combinations" in plan.out
    assert "2 stored, 2 if best; nothing was run" in plan.out
    compared = inside("runs", "compare", "last").out
    assert compared.splitlines()[1].split()[:4] == ["1,3", "1", "done", "done"], "the best comes first"
    assert "not chosen" in inside("runs", "show", "last").out
    err = inside(*words).err
    assert "put run: not chosen (error=3, the best one is error=1 in job 1)" in err
    assert "2 combinations, sorted by error, minimize" in err


def test_one_of_an_old_sweep_is_put() -> None:
    old = run(("c=measure", "+value=3,1,2", *NAMED), multirun=True, config_dirs=[RACE]).record.id
    assert inside("runs", "rerun", old, "--job", "2", "c=put").code == 0
    assert steps_run() == {"measure": 3, "put": 1}
    assert "put 2.0 of one in shelf" in inside("runs", "rerun", old, "--job", "2", "c=put").out
    assert "the run has the jobs 0 to 2" in inside("runs", "rerun", old, "--job", "3", "c=put").err
    assert "the run has no objective" in inside("runs", "rerun", old, "--best", "c=put").err
    assert "--best: chooses among the jobs" in inside("runs", "rerun", old, "--best", "--job", "1", "c=put").err
    assert "none of these jobs deploys anything" in inside("runs", "rerun", old, "--best", "objective.metric=error").err
    best = inside("runs", "rerun", old, "--best", "c=put", "objective.metric=error")
    assert best.code == 0, best.err
    assert "put 1.0 of one in shelf" in best.out
    assert best.err.count("put run: not chosen") == 2
    assert steps_run()["measure"] == 3, "nothing is measured again"


def test_the_metric_may_be_that_of_predictions() -> None:
    words = ("c=prediction,deployment", "modeling/model=linear,random_forest", "objective.metric=prediction.rmse")
    steps = prepare(words, multirun=True).plan.steps
    actions = {(step.call.stage, str(step.action)) for step in steps}
    assert {("modeling", "run"), ("prediction", "run"), ("deployment", "if best")} <= actions
    assert {s.reason for s in steps if s.action == "if best"} == {"smallest rmse of 2 combinations"}
