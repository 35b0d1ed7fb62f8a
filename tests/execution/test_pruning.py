"""Combinations stop early because of their partial scores, and leave nothing behind."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from execution.test_runners import InPool, Watcher, outcomes
from small_pipeline import EXAMPLES, inside, install, steps_run
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, exit_code_of
from when_ml_pipeline_meets_hydra.execution.pruning import PartialScore
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers
from when_ml_pipeline_meets_hydra.execution.runners.waves import Waves
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.runs import Prepared, Run

DRILL = str(EXAMPLES / "drill")
REASON = "pruned at step 2 (score=0.2)"


@pytest.fixture(autouse=True)
def _drill(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


class Below:
    """Stops a combination whose score at a step of a stage is below a limit."""

    def __init__(self, **limits: tuple[int, float]) -> None:
        self.limits = limits
        self.seen: list[PartialScore] = []

    def should_stop(self, score: PartialScore) -> bool:
        self.seen.append(score)
        step, least = self.limits.get(score.stage, (0, 0.0))
        return score.step == step and score.value < least


class Reports(Watcher):
    """Notes partial scores."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[tuple[int, Mapping[str, float]]] = []

    def step_reported(self, step: Step, number: int, metrics: Mapping[str, float]) -> None:
        self.reports.append((number, metrics))


def words(*more: str, talents: str = "0.1,1,2", manner: str = "raises", stages: str = "perform") -> tuple[str, ...]:
    turns = ("+turns=[1,2,3]", "+hall=great", "objective.metric=audition.score")
    return (f"c={stages}", f"+talent={talents}", f"+manner={manner}", *turns, *more)


def planned(*more: str, **given: str) -> Prepared:
    return prepare(words(*more, **given), multirun=True, config_dirs=[DRILL])


def drilled(pruner: Below, *more: str, **given: str) -> Run:
    return run(words(*more, **given), multirun=True, config_dirs=[DRILL], pruner=pruner)


def statuses(found: list[Outcome] | tuple[Outcome, ...], job: int) -> dict[str, str]:
    return {o.step.call.title: str(o.status) for o in found if job in o.step.jobs}


def left_behind(ready: Prepared) -> list[Path]:
    return [*(ready.home / "store" / "tmp").glob("*"), *(ready.home / "store" / "checkpoints").glob("*")]


@pytest.mark.parametrize("manner", ["raises", "returns", "goes on", "breaks"])
@pytest.mark.parametrize("runner", [InProcess, lambda: Workers(1)])
def test_a_training_stops_within_one_report_and_leaves_nothing(runner: Callable[[], Runner], manner: str) -> None:
    ready, pruner, watcher = planned(manner=f"'{manner}'"), Below(practise=(2, 0.5)), Reports()
    objective = ready.bound.settings.objective
    found = outcomes(ready, runner(), watcher, pruner=pruner, objective=objective)
    assert statuses(found, 0) == {
        **{f"practise run [{turn}]": "pruned" for turn in (1, 2, 3)},
        **{"audition run": "pruned", "rehearse run": "not chosen", "perform run": "not chosen"},
    }
    assert {o.reason for o in found if o.step.jobs == (0,)} == {REASON}
    assert set(statuses(found, 1).values()) == {"done", "not chosen"}
    assert set(statuses(found, 2).values()) == {"done"}, "the best of the others"
    assert exit_code_of(found) == 0
    times = 5 if manner == "goes on" else 2
    assert steps_run() == {"practise": 7, "time": times + 6 * 5, "audition": 2, "rehearse": 1, "perform": 1}
    first = found[0]
    assert first.partial_scores is not None
    assert first.partial_scores["score"][:2] == ((1, 0.1), (2, 0.2))
    assert first.artifact is None
    assert not ready.store.has(first.step.key)
    assert left_behind(ready) == []
    asked = [(s.trial, s.element, s.step, s.value, s.is_maximized) for s in pruner.seen[:3]]
    assert asked == [(0, "1", 1, 0.1, True), (0, "1", 2, 0.2, True), (1, "1", 1, 1.0, True)]
    assert watcher.reports[0] == (1, {"score": 0.1, "error": 1.0})


def test_the_mean_over_the_folds_so_far_ends_a_combination() -> None:
    pruner = Below(audition=(2, 3))
    done = drilled(pruner, manner="silent", talents="0.5,1")
    means = [(s.trial, s.element, s.step, s.value, s.metric) for s in pruner.seen]
    assert means == [
        *((0, None, 1, 2.5, "audition.score"), (0, None, 2, 2.75, "audition.score")),
        *((1, None, 1, 5.0, "audition.score"), (1, None, 2, 5.5, "audition.score")),
    ]
    assert statuses(done.outcomes, 0) == {
        **{"practise run [1]": "done", "practise run [2]": "done", "practise run [3]": "pruned"},
        **{"audition run": "pruned", "rehearse run": "not chosen", "perform run": "not chosen"},
    }
    assert done.exit_code == 0
    pruner.seen.clear()
    assert statuses(drilled(Below(), manner="silent", talents="0.5,1").outcomes, 0)["practise run [3]"] == "done"
    again = drilled(pruner, manner="silent", talents="0.5,1")
    assert pruner.seen == [], "what is stored already costs nothing"
    assert statuses(again.outcomes, 0)["audition run"] == "stored"


def test_a_step_that_several_combinations_need_goes_on_until_all_are_stopped() -> None:
    pruner = Below(practise=(2, 0.5))
    stages = ("+turns=[1,2,3],[1,2]",)
    both = prepare(
        ("c=audition", "+talent=0.1", "+manner=raises", *stages, "objective.metric=audition.score"),
        multirun=True,
        config_dirs=[DRILL],
    )
    found = outcomes(both, InProcess(), pruner=pruner, objective=both.bound.settings.objective)
    assert Counter(str(o.status) for o in found) == {"pruned": 5}
    assert [(s.trial, s.step) for s in pruner.seen] == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_without_a_pruner_and_in_waves_reports_are_kept_and_answered_with_no() -> None:
    ready, watcher = planned(talents="1,2", stages="audition"), Reports()
    found = outcomes(ready, Waves(InPool()), watcher, pruner=Below(practise=(1, 9)))
    assert {str(o.status) for o in found} == {"done"}
    assert found[0].partial_scores is not None
    assert [step for step, _ in found[0].partial_scores["error"]] == [1, 2, 3, 4, 5]


def test_failures_of_a_training_and_of_the_pruner_are_failures() -> None:
    done = drilled(Below(), talents="1", manner="untold", stages="audition")
    assert done.outcomes[0].error == "it raised Pruned, although progress.report has not returned True"
    wrong = drilled(Below(), talents="1", manner="wrong", stages="audition")
    assert wrong.outcomes[0].error == "TypeError: 'float' object cannot be interpreted as an integer"

    class Ill:
        def should_stop(self, score: PartialScore) -> bool:
            raise ZeroDivisionError("nothing to compare")

    ready = planned(talents="1", stages="audition")
    for runner in (InProcess(), Workers(1)):
        found = outcomes(ready, runner, pruner=Ill(), objective=ready.bound.settings.objective)
        assert found[0].error == "the pruner failed (ZeroDivisionError: nothing to compare)"
        assert str(found[0].status) == "failed"
    with pytest.raises(BadInput, match=r"objective\.metric: a pruner needs the metric"):
        run(words(talents="1")[:-1], config_dirs=[DRILL], pruner=Below())


def test_records_and_reports_know_what_was_pruned() -> None:
    done = drilled(Below(practise=(2, 0.5)))
    record = done.record
    assert record.status == "done"
    step = next(s for s in record.steps if s["status"] == "pruned" and s["element"] == "1")
    assert step["partial_scores"]["score"] == [[1, 0.1], [2, 0.2]]
    assert step["reason"] == REASON
    shown = inside("runs", "show", "last").out
    assert "practise run [1]: score 0.1, 0.2 at steps 1, 2" in shown
    steps = json.loads(inside("runs", "show", "last", "--json").out)["steps"]
    assert steps[0]["partial_scores"]["error"] == [[1, 1.0], [2, 0.5]]
    assert "done" in inside("runs", "list").out
    table = inside("runs", "compare", "last").out
    assert " pruned " in table


def test_events_and_reruns() -> None:
    drilled(Below(practise=(2, 0.5)), talents="0.1,1")
    again = inside("runs", "rerun", "last", "--json")
    events = [json.loads(line) for line in again.out.splitlines()]
    reports = [e for e in events if e["event"] == "step_reported"]
    assert reports[0].items() >= {"element": "1", "step": 1, "metrics": {"score": 0.1, "error": 1.0}}.items()
    ended = [e["status"] for e in events if e["event"] == "step_ended" and e["jobs"] == [0]]
    assert ended == ["done", "done", "done", "done", "not chosen", "not chosen"], "without the pruner"
    assert again.code == 0


def test_a_report_costs_little() -> None:
    from when_ml_pipeline_meets_hydra.execution.progress import MOST_POINTS, StepProgress

    step = planned(talents="1").plan.steps[0]
    progress = StepProgress(step, Reports(), None)
    started = time.perf_counter()
    for number in range(1, 10_001):
        progress.report(number, score=number / 2, error=1.0)
    assert time.perf_counter() - started < 1
    assert progress.partial_scores is not None
    points = progress.partial_scores["score"]
    assert points[0] == (1, 0.5)
    assert points[-1] == (10_000, 5000.0)
    assert MOST_POINTS // 2 <= len(points) <= MOST_POINTS + 1
    gaps = {b[0] - a[0] for a, b in pairwise(points[:-1])}
    assert gaps == {128}
