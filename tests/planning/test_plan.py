"""Calls → steps: pure, so it is tested with plain values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.planning.plan import Action, Inputs, Plan, Step, differences, inputs_of, make_plan
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest

ORDER = {"a": (), "b": ("a",), "c": ("a", "b")}


def work() -> None:
    """Stands for a subcommand."""


def call(
    stage: str, needs: Mapping[str, Call] | None = None, *, effect: bool = False, code: str = "1", **keyed: Any
) -> Call:
    return Call(
        stage=stage,
        subcommand="run",
        function=work,
        arguments=keyed,
        needs=needs or {},
        keyed={"stage": stage, **keyed},
        code=code,
        after=ORDER[stage],
        returns=None if effect else Artifact,
        is_effect=effect,
    )


def job(number: int, stage: str = "a", combination: str = "") -> Job:
    return Job(
        number=number,
        overrides=(),
        stage=stage,
        config={},
        raw={},
        chosen={},
        faults={},
        combination=(combination,),
        choices=(),
        values=(),
        overridden=None,
        origins=None,  # type: ignore[arg-type]
    )


def chain(size: int = 3, *, effect: bool = True, **keyed: Any) -> list[Call]:
    """The stages a, b and c, each of which receives the one before; ``keyed`` belongs to b."""
    a = call("a")
    b = call("b", {"a": a}, **keyed)
    return [a, b, call("c", {"b": b}, effect=effect)][:size]


def plan(
    calls: Iterable[tuple[Job, Call]],
    stored: Collection[str] = (),
    last: Mapping[str, Inputs] | None = None,
    force: Collection[str] = (),
) -> Plan:
    return make_plan(
        calls,
        is_stored=lambda k: k in stored,
        last_inputs=lambda f: [(last or {})[f]] if f in (last or {}) else [],
        force=force,
    )


def shown(found: Plan) -> list[tuple[str, str]]:
    return [(step.call.stage, str(step.action)) for step in found.steps]


def keys(found: Plan) -> dict[str, str]:
    return {step.call.stage: step.key for step in found.steps}


def test_asking_for_the_last_stage_brings_what_it_needs() -> None:
    found = plan([(job(0, "c"), chain()[2])])
    assert shown(found) == [("a", "run"), ("b", "run"), ("c", "run")]
    assert [s.reason for s in found.steps] == ["new", "new", "always runs, since it acts on the outside world"]
    assert found.requested == {0: keys(found)["c"]}


def test_the_key_is_the_digest_of_the_inputs() -> None:
    for step in plan([(job(0, "c"), chain()[2])]).steps:
        assert step.key == digest(step.inputs)
        assert step.inputs["artifacts"] == step.needs
    assert inputs_of(call("a"), {})["function"] == f"{__name__}.work"


def test_stage_by_stage_is_the_same_plan() -> None:
    at_once = plan([(job(0, "c"), chain()[2])])
    stage_by_stage = plan([(job(n, s), c) for n, (s, c) in enumerate(zip("abc", chain(), strict=True))])
    assert keys(at_once) == keys(stage_by_stage)
    assert shown(at_once) == shown(stage_by_stage)


@pytest.mark.parametrize("order", ["abc", "cba", "bca", "acb"])
def test_in_whatever_order_the_stages_are_asked_for(order: str) -> None:
    calls = dict(zip("abc", chain(), strict=True))
    found = plan([(job(n, s), calls[s]) for n, s in enumerate(order)])
    assert [s.call.stage for s in found.steps] == ["a", "b", "c"]
    assert set(found.steps[-1].after) == {keys(found)["a"], keys(found)["b"]}


def test_nothing_but_the_effect_runs_again() -> None:
    first = plan([(job(0, "c"), chain()[2])])
    again = plan([(job(0, "c"), chain()[2])], stored=keys(first).values())
    assert shown(again) == [("a", "stored"), ("b", "stored"), ("c", "run")]
    assert again.steps[0].reason == "nothing changed"


def test_what_nothing_that_runs_needs_is_not_needed() -> None:
    first = plan([(job(0, "b"), chain(2)[1])])
    again = plan([(job(0, "b"), chain(2)[1])], stored=[keys(first)["b"]])
    assert [(s.call.stage, s.action) for s in again.steps] == [("a", Action.NOT_NEEDED), ("b", Action.STORED)]
    assert again.to_run == ()


def test_what_a_step_that_runs_needs_is_computed_again() -> None:
    first = keys(plan([(job(0, "c"), chain()[2])]))
    again = plan([(job(0, "c"), chain()[2])], stored=[first["b"]])
    assert shown(again) == [("a", "not needed"), ("b", "stored"), ("c", "run")]
    again = plan([(job(0, "c"), chain()[2])], stored=[first["a"]])
    assert shown(again) == [("a", "stored"), ("b", "run"), ("c", "run")]


def test_force_runs_a_stage_and_leaves_its_key() -> None:
    first = plan([(job(0, "b"), chain(2)[1])])
    again = plan([(job(0, "b"), chain(2)[1])], stored=keys(first).values(), force=["b"])
    assert shown(again) == [("a", "stored"), ("b", "run")]
    assert (again.steps[1].reason, again.steps[1].is_forced, again.steps[0].is_forced) == ("forced", True, False)
    assert keys(again) == keys(first)


def test_a_step_that_returns_nothing_always_runs() -> None:
    nothing = Call(**{**call("a").__dict__, "returns": None})
    found = plan([(job(0), nothing)])
    assert found.steps[0].reason == "always runs, since it returns nothing"
    assert not found.steps[0].is_storable


def test_equal_steps_of_several_jobs_are_one() -> None:
    jobs = [(job(n, "b", f"x={n}"), chain(2, rate=n)[1]) for n in range(3)]
    found = plan(jobs)
    assert [s.call.stage for s in found.steps] == ["a", "b", "b", "b"]
    assert found.steps[0].jobs == (0, 1, 2)
    assert len(set(found.requested.values())) == 3


def test_equal_effects_are_one_and_other_secrets_make_another() -> None:
    def ship(secret: str) -> Call:
        return Call(**{**call("a", effect=True).__dict__, "arguments": {"pw": secret}})

    found = plan([(job(n, "a", f"{n}"), ship(pw)) for n, pw in enumerate(["one", "one", "two"])])
    assert [s.jobs for s in found.steps] == [(0, 1), (2,)]
    assert len({s.key for s in found.steps}) == 2
    assert all("pw" not in repr(s.inputs) for s in found.steps)


def test_an_effect_waits_for_all_of_its_combination_and_for_no_other() -> None:
    x, y = chain(2, rate=1)[1], call("c", effect=True)
    other = chain(2, rate=2)[1]
    found = plan([(job(0, "c", "one"), y), (job(1, "b", "one"), x), (job(2, "b", "two"), other)])
    effect = next(s for s in found.steps if s.call.stage == "c")
    assert set(effect.after) == {found.requested[1]} | set(found.steps[0].needs.values()) | {keys(found)["a"]}
    assert found.requested[2] not in effect.after


def test_stages_may_share_a_step() -> None:
    a = call("a")
    b = call("b", {"a": a})
    same = Call(**{**a.__dict__, "stage": "c", "after": ("a", "b")})
    found = plan([(job(n, s), c) for n, (s, c) in enumerate([("a", a), ("b", b), ("c", same)])])
    assert [s.call.stage for s in found.steps] == ["a", "b"]
    assert found.requested[2] == found.requested[0]


def test_the_reason_names_what_changed() -> None:
    first = plan([(job(0, "b"), chain(2, rate=0.1, name="n")[1])])
    last = {first.steps[1].inputs["function"]: first.steps[1].inputs}
    found = plan([(job(0, "b"), chain(2, rate=0.2, name="n")[1])], stored=[first.steps[0].key], last=last)
    assert found.steps[1].reason == "rate 0.1 → 0.2"


def reason(old: Call, new: Call) -> str:
    before = plan([(job(0, old.stage), old)]).steps[-1].inputs
    return plan([(job(0, new.stage), new)], last={before["function"]: before}).steps[-1].reason


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (call("a"), call("a", code="2"), "its code changed"),
        (call("a", x=1), call("a", x=1), "its result was removed"),
        (call("a", x=1, y="u"), call("a", x=2, y="v", code="2"), "x 1 → 2, y u → v, its code changed"),
        (call("a", x=[1]), call("a", x=[2]), "x changed"),
        (
            call("a", o={"type": "m.A", "x": 1}),
            call("a", o={"type": "m.B", "x": 1}),
            "o is another kind",
        ),
        (call("a"), call("a", p=1, q=1, r=1, s=1, t=1), "p changed, q changed, r changed, 2 more changes"),
        (call("b", {"a": call("a", x=1)}), call("b", {"a": call("a", x=2)}), "a changed"),
    ],
)
def test_reasons(old: Call, new: Call, expected: str) -> None:
    assert reason(old, new) == expected


def test_differences_of_equal_values() -> None:
    assert list(differences({"a": {"b": [1]}}, {"a": {"b": [1]}})) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=6), st.data())
def test_any_plan_can_be_run_from_its_first_step_to_its_last(asked: list[tuple[str, int]], data: st.DataObject) -> None:
    """Whatever is asked for and stored: what a step waits for comes before it, and what it receives is there."""
    jobs = [
        (job(n, s, str(rate)), dict(zip("abc", chain(rate=rate), strict=True))[s]) for n, (s, rate) in enumerate(asked)
    ]
    every = [s.key for s in plan(jobs).steps]
    stored = data.draw(st.sets(st.sampled_from(every)))
    steps = plan(jobs, stored=stored).steps
    assert len({s.key for s in steps}) == len(steps)
    done: set[str] = set()
    for step in steps:
        assert set(step.after) <= {s.key for s in steps}
        assert {k for k in step.after if k not in done} == set(), "in dependency order"
        if step.action is Action.RUN:
            actions = {s.key: s.action for s in steps}
            assert all(actions[key] is not Action.NOT_NEEDED for key in step.needs.values())
        done.add(step.key)
    _same_result_in_any_order(jobs, stored, steps)


def _same_result_in_any_order(jobs: list[tuple[Job, Call]], stored: set[str], steps: tuple[Step, ...]) -> None:
    reverse = plan(jobs[::-1], stored=stored).steps
    assert {(s.key, s.action) for s in reverse} == {(s.key, s.action) for s in steps}
