"""Plan the steps of a run: deduplicated, in dependency order, each with the reason why it runs or not. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.planning.choice import Candidacies, Combination, candidacies
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.binding.call import Call
    from when_ml_pipeline_meets_hydra.binding.settings import Objective
    from when_ml_pipeline_meets_hydra.composing.job import Job

Inputs = Mapping[str, Any]
FORMAT = 1  # of keys; a new one invalidates all stored results


class Action(StrEnum):
    """Planned action of a step."""

    RUN = "run"
    IF_BEST = "if best"
    STORED = "stored"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call with particular inputs.

    ``key`` is the digest of ``inputs``; ``needs`` maps parameters to the keys of the artifacts that they receive;
    ``after`` are the keys of the steps of its combination that have to succeed first. ``follows`` is the key of the
    effect that has to end before this one starts, so that effects take place in the order of the jobs. ``damage`` says
    what is wrong with its stored result, which is computed again. A step with ``candidacies`` runs only if its
    combination is the best in one of these choices.
    """

    key: str
    call: Call
    inputs: Inputs
    needs: Mapping[str, str]
    after: tuple[str, ...]
    jobs: tuple[int, ...]
    action: Action
    reason: str
    follows: str | None = None
    is_forced: bool = False
    damage: str | None = None
    candidacies: Candidacies = ()

    @property
    def is_storable(self) -> bool:
        """True if its result can be stored and reused."""
        return storable(self.call)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of all jobs, each once, in dependency order; ``requested``: job number → key of the job's own step.

    ``combinations`` are the jobs of each combination, and the keys of its steps by stage.
    """

    steps: tuple[Step, ...]
    requested: Mapping[int, str]
    combinations: tuple[Combination, ...] = ()

    @property
    def to_run(self) -> tuple[Step, ...]:
        """The steps that will run, or may."""
        return tuple(s for s in self.steps if s.action in (Action.RUN, Action.IF_BEST))


def make_plan(
    calls: Iterable[tuple[Job, Call]],
    *,
    is_stored: Callable[[str], bool],
    last_inputs: Callable[[str], Sequence[Inputs]],
    force: Collection[str] = (),
    damage: Callable[[str], str | None] = lambda _: None,
    objective: Objective | None = None,
) -> Plan:
    """Plan the steps of bound jobs.

    ``is_stored(key)`` returns whether a result is stored, ``damage(key)`` what is wrong with it (None: it is whole),
    ``last_inputs(name)`` the inputs of its latest stored results (for the reasons); ``force`` are the stages to run
    again. By ``objective`` the best of the combinations that claim the same place is chosen.
    """
    last_inputs = cache(last_inputs)
    drafts, combinations = _drafts(calls)
    choices = _candidacies(drafts, combinations, objective)
    decided = {choice for found in choices.values() for choice, _ in found}
    candidates = {key for choice in decided for key in choice.candidates}
    found = {key for key, draft in drafts.items() if storable(draft.call) and is_stored(key)}
    damages = {key: wrong for key in found if (wrong := damage(key))}
    is_stored = (found - damages.keys()).__contains__
    preceding = {key for key, draft in drafts.items() if draft.precedes}
    needed = _needed(drafts, is_stored, force, {*damages, *candidates, *preceding})
    steps: dict[str, Step] = {}
    effects: dict[tuple[Callable[..., Any], bool], str] = {}
    for key, draft in drafts.items():
        upstream = [steps[k] for k in draft.needs.values()]
        wrong = damages.get(key)
        action, reason = _decide(key, draft, needed, upstream, is_stored, last_inputs, force)
        if key in choices and key in needed:
            action, reason = Action.IF_BEST, _chosen_by(choices[key])
        effect = draft.call.function, action is Action.IF_BEST
        steps[key] = Step(
            key=key,
            call=draft.call,
            inputs=draft.inputs,
            needs=draft.needs,
            after=tuple(draft.after),
            jobs=tuple(draft.jobs),
            action=action,
            reason=f"its stored result is damaged ({wrong})" if wrong else reason,
            # An effect that depends on a choice follows the others, which must not wait for the choice.
            follows=(effects.get(effect) or effects.get((effect[0], False))) if draft.call.is_effect else None,
            is_forced=draft.call.stage in force,
            candidacies=choices[key] if action is Action.IF_BEST else (),
            damage=wrong,
        )
        effects |= {effect: key} if draft.call.is_effect else {}
    requested = {n: k for k, d in drafts.items() for n in d.requested_by}
    return Plan(steps=tuple(steps.values()), requested=requested, combinations=tuple(combinations))


def _candidacies(
    drafts: Mapping[str, _Draft], combinations: Sequence[Combination], objective: Objective | None
) -> dict[str, Candidacies]:
    steps = {key: (draft.call, draft.after, draft.jobs) for key, draft in drafts.items()}
    return candidacies(combinations, steps, objective) if objective else {}


def _chosen_by(choices: Candidacies) -> str:
    choice = choices[0][0]
    return (
        f"{'largest' if choice.is_maximized else 'smallest'} {choice.metric} of {len(choice.candidates)} combinations"
    )


def storable(call: Call) -> bool:
    """Return whether results are stored; effects and subcommands that return nothing run each time."""
    return call.returns is not None and not call.is_effect


def comparable(call: Call) -> str:
    """Return the name under which results stand that a new one is compared with: its function, apart for elements."""
    name = f"{call.function.__module__}.{call.function.__qualname__}"
    return f"{name}.each" if call.element else name


def inputs_of(call: Call, needs: Mapping[str, str]) -> Inputs:
    """Return the inputs of a step, whose digest is its key; readable, without secrets."""
    return {
        "format": FORMAT,
        "function": f"{call.function.__module__}.{call.function.__qualname__}",
        "code": call.code,
        "arguments": dict(call.keyed),
        "artifacts": dict(needs),
    }


class _Draft:
    """A step before its action is decided."""

    def __init__(self, call: Call, inputs: Inputs, needs: Mapping[str, str]) -> None:
        self.call, self.inputs, self.needs = call, inputs, needs
        self.after: dict[str, None] = dict.fromkeys(needs.values())
        self.jobs: dict[int, None] = {}
        self.requested_by: list[int] = []
        self.precedes = False


def _drafts(calls: Iterable[tuple[Job, Call]]) -> tuple[dict[str, _Draft], list[Combination]]:
    """Return the distinct steps and the combinations; in each, a step depends on those of the stages before its own."""
    drafts: dict[str, _Draft] = {}
    by_combination: dict[Sequence[str], list[tuple[Job, Call]]] = {}
    combinations: list[Combination] = []
    for job, call in calls:
        by_combination.setdefault(job.combination, []).append((job, call))
    for members in by_combination.values():
        stage_keys: dict[str, str] = {}
        for job, call in _in_stage_order(members):
            drafts[_add(call, job.number, drafts, stage_keys)].requested_by.append(job.number)
        combinations.append(Combination(jobs=tuple(job.number for job, _ in members), keys=stage_keys))
    return _in_dependency_order(drafts), combinations


def _in_stage_order(members: list[tuple[Job, Call]]) -> list[tuple[Job, Call]]:
    """Return the jobs of a combination with effects as late as the order of the stages allows."""
    done: list[tuple[Job, Call]] = []
    todo = {call.stage: (job, call) for job, call in members}

    def place(stage: str) -> None:
        if member := todo.pop(stage, None):
            for before in [*member[1].after, *(c.stage for n, c in member[1].needs.items() if not _is_element(n))]:
                place(before)
            done.append(member)

    for stage in sorted(todo, key=lambda s: not storable(todo[s][1])):
        place(stage)
    return done


def _in_dependency_order(drafts: Mapping[str, _Draft]) -> dict[str, _Draft]:
    done: dict[str, _Draft] = {}

    def place(key: str) -> None:
        if key not in done:
            for before in drafts[key].after:
                place(before)
            done[key] = drafts[key]

    for key in drafts:
        place(key)
    return done


def _add(call: Call, job: int, drafts: dict[str, _Draft], stage_keys: dict[str, str]) -> str:
    # What is made for an element belongs to it, and not to the stages of the combination.
    needs = {n: _add(other, job, drafts, {} if _is_element(n) else stage_keys) for n, other in call.needs.items()}
    preceding = [_add(other, job, drafts, stage_keys) for other in call.preceding]
    key, inputs = _distinct(call, inputs_of(call, needs), drafts)
    draft = drafts.setdefault(key, _Draft(call, inputs, needs))
    if draft.call.element and call.element is None:  # the step of an element may be that of a combination, too
        draft.call = call
    draft.jobs[job] = None
    before = [*preceding, *_before(call, stage_keys)]
    draft.after |= dict.fromkeys(k for k in before if not _waits_for(k, key, drafts))
    for other in preceding:
        drafts[other].precedes = True
    stage_keys[call.stage] = key
    return key


def _is_element(parameter: str) -> bool:
    return parameter.endswith("]")  # see ``element_name``


def _waits_for(one: str, other: str, drafts: Mapping[str, _Draft]) -> bool:
    """Return whether ``one`` is ``other`` or depends on it (two stages may share a step)."""
    return one == other or any(_waits_for(before, other, drafts) for before in drafts[one].after)


def _distinct(call: Call, inputs: Inputs, drafts: Mapping[str, _Draft]) -> tuple[str, Inputs]:
    """Return key and inputs of a step; effects that differ in secrets alone, which keys leave out, stay distinct."""
    key, number = digest(inputs), 1
    while not storable(call) and key in drafts and drafts[key].call.arguments != call.arguments:
        number += 1
        inputs = {**inputs, "variant": number}
        key = digest(inputs)
    return key, inputs


def _before(call: Call, stage_keys: Mapping[str, str]) -> Iterator[str]:
    """Yield the earlier steps of the combination that this one depends on (for an effect, all of them)."""
    if not storable(call):
        yield from stage_keys.values()
    else:
        yield from (stage_keys[s] for s in call.after if s in stage_keys)


def _needed(
    drafts: Mapping[str, _Draft],
    is_stored: Callable[[str], bool],
    force: Collection[str],
    required: Collection[str],
) -> set[str]:
    """Return the keys of the steps that are requested, forced, required, or needed by a step that runs."""
    needed: set[str] = set()
    for key, draft in reversed(list(drafts.items())):
        if draft.requested_by or key in needed or key in required or draft.call.stage in force:
            needed.add(key)
            if _runs(key, draft, is_stored, force):
                needed |= set(draft.needs.values())
    return needed


def _runs(key: str, draft: _Draft, is_stored: Callable[[str], bool], force: Collection[str]) -> bool:
    return draft.call.stage in force or not storable(draft.call) or not is_stored(key)


def _decide(
    key: str,
    draft: _Draft,
    needed: set[str],
    upstream: Sequence[Step],
    is_stored: Callable[[str], bool],
    last_inputs: Callable[[str], Sequence[Inputs]],
    force: Collection[str],
) -> tuple[Action, str]:
    if key not in needed:
        stored = is_stored(key)
        return (Action.STORED, "nothing changed") if stored else (Action.NOT_NEEDED, "nothing that runs needs it")
    if draft.call.stage in force:
        return Action.RUN, "forced"
    if draft.call.is_effect:
        return Action.RUN, "always runs, since it acts on the outside world"
    if draft.call.returns is None:
        return Action.RUN, "always runs, since it returns nothing"
    if is_stored(key):
        return Action.STORED, "nothing changed"
    if not draft.call.has_known_code:
        return Action.RUN, "its code is in no file, so a change would go unnoticed"
    return Action.RUN, _reason(draft.inputs, last_inputs(comparable(draft.call)), upstream)


def _reason(inputs: Inputs, earlier: Sequence[Inputs], upstream: Sequence[Step]) -> str:
    """Return what has changed since the nearest earlier result: with the same artifacts, and few differences."""
    if not earlier:
        return "new"
    last = min(earlier, key=lambda e: _distance(e, inputs))
    changes = list(differences(last["arguments"], inputs["arguments"]))
    if last["artifacts"] != inputs["artifacts"]:
        changed = (f"{s.call.stage} changed" for s in upstream if s.key not in last["artifacts"].values())
        changes += dict.fromkeys(changed)
    if last["code"] != inputs["code"]:
        changes.append("its code changed")
    shown = changes if len(changes) <= 4 else [*changes[:3], f"{len(changes) - 3} more changes"]
    return ", ".join(shown) or "its result was removed"


def _distance(old: Inputs, new: Inputs) -> tuple[int, int]:
    artifacts = set(old["artifacts"].items()) ^ set(new["artifacts"].items())
    changed = sum(1 for _ in differences(old["arguments"], new["arguments"])) + (old["code"] != new["code"])
    return len(artifacts), changed


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Yield the differences between two plain values: ``m_param.learning_rate 0.1 → 0.2``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            if name != "type":
                yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
        if old.get("type") != new.get("type") and "type" in new:
            yield f"{key} is another {'kind' if 'type' in old else 'option'}"
    elif old != new:
        short = all(isinstance(v, int | float | bool | str) and len(str(v)) < 40 for v in (old, new))
        yield f"{key} {old} → {new}" if short else f"{key} changed"
