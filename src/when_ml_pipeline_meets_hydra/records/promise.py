"""The inputs that the steps of a plan had where it was made, and how those of another process differ from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import DATA
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.planning.plan import Inputs, Plan, Step, differences
from when_ml_pipeline_meets_hydra.records.provenance import versions

SHORT = 12  # characters of a key in messages
_MOST_SHOWN = 5


def promise_of(plan: Plan) -> dict[str, Any]:
    """Return what ``run_step`` compares a plan with: the inputs of each step by its key, and versions; as JSON.

    Inputs contain no secrets.
    """
    return {"inputs": {step.key: dict(step.inputs) for step in plan.steps}, "versions": dict(versions())}


def promised_step(plan: Plan, key: str, promise: Mapping[str, Any], stored: Inputs | None) -> Step:
    """Return the step with this key. Raises ``BadInput`` that says what differs if there is none.

    ``stored`` are the inputs under which a result with this key is stored.
    """
    for step in plan.steps:
        if step.key == key:
            return step
    known: dict[str, Inputs] = {**({key: stored} if stored else {}), **promise.get("inputs", {})}
    if key not in known:
        shown = ", ".join(f"{step.call.title} {step.key[:SHORT]}" for step in plan.steps[:_MOST_SHOWN])
        more = f" and {len(plan.steps) - _MOST_SHOWN} more" if len(plan.steps) > _MOST_SHOWN else ""
        raise _refusal(key, f"no step of these overrides has this key: they have {shown}{more}")
    changes = list(dict.fromkeys(_changes(key, known, plan)))
    changes += differences(promise.get("versions", {}), dict(versions()) if "versions" in promise else {})
    reason = "; ".join(changes) or "these overrides have no such step"
    raise _refusal(key, f"this step has another key here: {reason}")


def _refusal(key: str, message: str) -> BadInput:
    remedy = "Use the code, packages, data and overrides of the plan, or plan again"
    return BadInput(Problem(key=key[:SHORT], message=message, remedy=remedy))


def _changes(key: str, known: Mapping[str, Inputs], plan: Plan) -> Iterator[str]:
    """Yield the differences between the promised inputs of a step and those of the nearest one here."""
    promised = known[key]
    same = [step for step in plan.steps if step.inputs["function"] == promised["function"]]
    if not same:
        yield f"{promised['function']} is not planned"
        return
    nearest = min(same, key=lambda step: _distance(promised, step.inputs))
    name = nearest.call.title
    if promised["code"] != nearest.inputs["code"]:
        yield f"{name}: other code"
    for line in differences(promised["arguments"], nearest.inputs["arguments"]):
        top = line.partition(DATA)
        yield f"{name}: other data of {top[0]}" if top[1] else f"{name}: {line}"
    if promised["format"] != nearest.inputs["format"]:
        yield f"{name}: another version of this program"
    here = {step.key for step in plan.steps}
    for before in promised["artifacts"].values():
        if before in known and before not in here:
            yield from _changes(before, known, plan)


def _distance(promised: Inputs, inputs: Inputs) -> tuple[int, int]:
    found: Sequence[str] = list(differences(promised["arguments"], inputs["arguments"]))
    return len(found), len(set(promised["artifacts"].values()) ^ set(inputs["artifacts"].values()))
