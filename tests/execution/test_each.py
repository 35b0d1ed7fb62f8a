"""A subcommand that is mapped over a list: a step for each element, and one that gathers them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from execution.test_runners import InPool, outcomes
from small_pipeline import EXAMPLES, inside, install, steps_run
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers
from when_ml_pipeline_meets_hydra.execution.runners.waves import Waves
from when_ml_pipeline_meets_hydra.pipeline import prepare, run
from when_ml_pipeline_meets_hydra.runs import Prepared, Run

WORKSHOP = str(EXAMPLES / "workshop")
LID, SIDE, LEG = "{name:lid,size:2}", "{name:side,size:3}", "{name:leg,size:4}"


@pytest.fixture(autouse=True)
def _workshop(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def words(*parts: str, colour: str = "red") -> tuple[str, ...]:
    return ("c=pack", "+wood=oak", f"+colour={colour}", f"+parts=[{','.join(parts)}]")


def planned(*overrides: str) -> Prepared:
    return prepare(overrides, config_dirs=[WORKSHOP])


def packed(*overrides: str) -> Run:
    return run(overrides, config_dirs=[WORKSHOP])


def refused(*overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        planned(*overrides)
    return str(caught.value)


def test_each_element_is_a_step_with_a_key_of_its_own_and_one_gathers_them() -> None:
    plan = planned(*words(LID, SIDE)).plan
    assert [step.call.title for step in plan.steps] == [
        "saw run",
        "cut run [lid]",
        "paint run [lid]",
        "cut run [side]",
        "paint run [side]",
        "pack run",
    ]
    keys = {step.call.title: step.key for step in plan.steps}
    last = plan.steps[-1]
    assert last.inputs["artifacts"] == {
        "saw": keys["saw run"],
        "paint[0]": keys["paint run [lid]"],
        "paint[1]": keys["paint run [side]"],
    }
    done = packed(*words(LID, SIDE))
    assert done.artifact("pack").names == ("red lid", "red side")  # type: ignore[attr-defined]
    assert steps_run() == {"saw": 1, "cut": 2, "paint": 2, "pack": 1}
    assert done.metrics == {"pack.size": 5}, "metrics of elements are not those of a stage"
    with pytest.raises(KeyError):
        done.artifact("cut")
    packed(*words(SIDE, LEG, LID))
    assert steps_run() == {"saw": 1, "cut": 3, "paint": 3, "pack": 2}, "what an element has is computed once"
    again = packed(*words(SIDE, LEG, LID))
    assert {str(outcome.status) for outcome in again.outcomes} == {"stored"}
    changed = next(s for s in planned(*words(LID, colour="blue")).plan.steps if s.call.stage == "pack")
    assert changed.reason.startswith("paint changed")
    assert packed(*words()).artifact("pack").names == ()  # type: ignore[attr-defined]


def test_a_function_returns_the_elements() -> None:
    done = packed(*words(LID, SIDE), "c/pack_sub=halve")
    assert done.artifact("pack").names == ("red oak lid/2", "red oak side/2")  # type: ignore[attr-defined]
    assert [s.call.title for s in done.prepared.plan.steps][1] == "cut run [oak lid/2]"


@pytest.mark.parametrize("runner", [InProcess, lambda: Workers(3), lambda: Waves(InPool())])
def test_every_launcher_computes_the_same_and_what_fails_hides_nothing(runner: Callable[[], Runner]) -> None:
    found = outcomes(planned(*words(LID, "{name:top,size:9}", SIDE)), runner())
    assert {(o.step.call.title, str(o.status)) for o in found} == {
        *(("saw run", "done"), ("cut run [lid]", "done"), ("cut run [top]", "failed"), ("cut run [side]", "done")),
        *(("paint run [lid]", "done"), ("paint run [top]", "skipped"), ("paint run [side]", "done")),
        ("pack run", "skipped"),
    }
    reasons = {o.reason for o in found if o.step.call.stage == "pack"}
    assert reasons == {"paint run [top] skipped"}


def test_records_tables_and_json_name_the_elements() -> None:
    lines = [json.loads(line) for line in inside("--config-dir", WORKSHOP, *words(LID), "--json").out.splitlines()]
    assert [s.get("element") for s in lines[0]["steps"]] == [None, "lid", "lid", None]
    ended = next(e for e in lines if e["event"] == "step_ended" and e["stage"] == "pack")
    assert (ended["metrics"], ended["deviations"]) == ({"size": 2}, {"size": 0.5})
    sweep = ("--config-dir", WORKSHOP, *words(LID, "{name:top,size:8}")[:2], "+colour=red,blue", "--multirun")
    err = inside(*sweep, "c=pack", f"+parts=[{LID}],[{LID},{{name:top,size:9}}]").err
    assert "cut run [top]: failed" in err
    assert "2 ± 0.5" in err
    rows = [line.split() for line in err.splitlines() if line.split()[-1:] == ["skipped"] or "± 0.5" in line]
    assert len([row for row in rows if row[0].isdigit()]) == 4
    shown = inside("runs", "show", "last").out
    assert "cut run [top]: ValueError: top broke" in shown
    assert "pack run " in shown
    assert "paint run [lid]" in inside("plan", "--config-dir", WORKSHOP, *words(LID)).out
    csv = inside("runs", "compare", "last", "--csv", "all.csv")
    assert csv.code == 0
    assert Path("all.csv").read_text().splitlines()[0].endswith("pack.size,pack.size.deviation")


def test_what_cannot_be_mapped_is_refused_beforehand() -> None:
    text = "parts: a list is needed: a step for each of its elements (from the override +parts=oak)"
    assert refused(*words()[:3], "+parts=oak") == text
    assert refused(*words()[:3]) == "parts: a list is needed: a step for each of its elements"
    assert refused(*words(LID, "{name:side,size:0}")).startswith("parts[1].size=0: expected a whole number, 1 ≤ x ≤ 9")
    assert refused(*words(LID, "{name:side}")).startswith("parts[1].size: ")
    assert refused(*words(LID), f"+part={SIDE}", "c/pack_sub=count").startswith(
        "paint_sub: 'paint' and the stages that it needs do not read 'colours'"
    )
    assert "its parameter 'part' is neither a config key nor a stage" in refused(*words(LID), "c=cut")
    assert not steps_run()
