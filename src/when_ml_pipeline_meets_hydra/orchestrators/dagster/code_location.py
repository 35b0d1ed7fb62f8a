"""Jobs and assets for a code location of Dagster: the steps of a plan as ops, the overrides as config."""
# Dagster reads the annotation of an op's context as a class: no ``from __future__ import annotations`` here.

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.orchestrators.dagster.job import StepLog, events_of, executor_of, interruptible
from when_ml_pipeline_meets_hydra.orchestrators.run_step import run_step
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.records.promise import promise_of
from when_ml_pipeline_meets_hydra.runs import Prepared

_PLAN = "plan"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A step of a plan, whatever its inputs: its name, and the places of the steps before it."""

    title: str
    before: tuple[int, ...]


def definitions(
    overrides: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    multirun: bool = False,
    config_dirs: Sequence[str | Path] = (),
) -> dg.Definitions:
    """Return the definitions of a code location: ``defs = definitions(["c=modeling", "modeling/param=small"])``.

    Each job plans first, and then has an op for each step. The config of its op ``plan`` are the overrides, which may
    be changed in the launchpad as long as the same steps follow from them; ``{"train": […], "ship": […]}`` makes
    several jobs. Results are assets, named by stage and subcommand. Raises ``BadInput``, also for an override with a
    secret, which Dagster would keep: ``${oc.env:NAME}`` names an environment variable.
    """
    jobs = overrides if isinstance(overrides, Mapping) else {"pipeline": overrides}
    folders = tuple(str(Path(folder).absolute()) if "://" not in str(folder) else str(folder) for folder in config_dirs)
    planned = {name: _planned(lines, multirun=multirun, config_dirs=folders) for name, lines in jobs.items()}
    return dg.Definitions(
        jobs=[_job(name, list(jobs[name]), found, multirun, folders) for name, found in planned.items()],
        assets=_assets(step for found in planned.values() for step in found.plan.steps),
    )


def _planned(overrides: Sequence[str], *, multirun: bool, config_dirs: Sequence[str]) -> Prepared:
    prepared = prepare(overrides, multirun=multirun, config_dirs=config_dirs)
    bound = prepared.bound
    if secret := [line for line in overrides if bound.redactor.override(line, bound.secret_keys) != line]:
        message, remedy = "Dagster would keep this secret", "Give it as ${oc.env:NAME}, an environment variable"
        raise BadInput(*(Problem(key=line.partition("=")[0], message=message, remedy=remedy) for line in secret))
    return prepared


def _places(steps: Sequence[Step]) -> tuple[_Place, ...]:
    """The places of steps, in the order of the plan; one behind a choice comes after all candidates."""
    numbers = {step.key: number for number, step in enumerate(_ordered(steps))}
    return tuple(
        _Place(title=step.call.title, before=tuple(sorted({numbers[key] for key in _before(step)})))
        for step in _ordered(steps)
    )


def _before(step: Step) -> Iterator[str]:
    yield from (*step.needs.values(), *step.after)
    yield from ([step.follows] if step.follows else [])
    yield from (key for choice, _ in step.candidacies for key in choice.candidates)


def _ordered(steps: Sequence[Step]) -> list[Step]:
    """The steps in an order in which also the candidates of a choice come before what depends on it."""
    known, done = {step.key: step for step in steps}, dict[str, Step]()

    def place(key: str) -> None:
        if key not in done:
            for before in _before(known[key]):
                place(before)
            done[key] = known[key]

    for step in steps:
        place(step.key)
    return list(done.values())


def _job(
    name: str, overrides: list[str], prepared: Prepared, multirun: bool, folders: Sequence[str]
) -> dg.JobDefinition:
    steps = _ordered(prepared.plan.steps)
    places = _places(prepared.plan.steps)
    names = _names(places)
    ops = [_op(n, names[n], places[n], step, multirun, folders) for n, step in enumerate(steps)]
    dependencies: dict[str, dict[str, dg.DependencyDefinition]] = {
        names[n]: {
            "planned": dg.DependencyDefinition(_PLAN),
            **{f"after_{before}": dg.DependencyDefinition(names[before]) for before in place.before},
        }
        for n, place in enumerate(places)
    }
    made = dg.GraphDefinition(
        name=name,
        description=" ".join(overrides),
        node_defs=[_plan_op(overrides, places, multirun, folders), *ops],
        dependencies={_PLAN: {}, **dependencies},
    )
    return made.to_job(name=name, executor_def=executor_of())


def _names(places: Sequence[_Place]) -> list[str]:
    """Names for the ops: the title in letters, digits and underscores, numbered where several have the same."""
    plain = ["_".join("".join(c if c.isascii() and c.isalnum() else " " for c in p.title).split()) for p in places]
    counts, seen = Counter(plain), Counter[str]()
    found = []
    for name in plain:
        seen[name] += 1
        found.append(f"{name}_{seen[name]}" if counts[name] > 1 else name)
    return found


def _plan_op(default: list[str], places: Sequence[_Place], multirun: bool, folders: Sequence[str]) -> dg.OpDefinition:
    described = "In Hydra's grammar, as on the command line: m_param.max_depth=5"
    field = dg.Field([str], default_value=default, description=described)

    @dg.op(
        name=_PLAN, config_schema={"overrides": field}, description="Compose, validate and plan; nothing has run yet"
    )
    def plan(context: dg.OpExecutionContext) -> Iterator[Any]:
        overrides = context.op_config["overrides"]
        try:
            prepared = _planned(overrides, multirun=multirun, config_dirs=folders)
        except BadInput as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        found = _ordered(prepared.plan.steps)
        if _places(prepared.plan.steps) != tuple(places):
            shown = ", ".join(step.call.title for step in found)
            text = f"these overrides plan other steps than this job has: {shown}. Make a job of their own for them"
            raise dg.Failure(text, allow_retries=False)
        reasons = {step.call.title: f"{step.action} ({step.reason})" for step in found}
        planned = {"overrides": overrides, "keys": [s.key for s in found], "promise": promise_of(prepared.plan)}
        yield dg.Output(planned, metadata=reasons)

    op: dg.OpDefinition = plan
    return op


def _op(number: int, name: str, place: _Place, step: Step, multirun: bool, folders: Sequence[str]) -> dg.OpDefinition:
    stage, subcommand = step.call.stage, step.call.subcommand
    before = {f"after_{n}": dg.In(dg.Nothing) for n in place.before}

    @dg.op(name=name, ins={"planned": dg.In(), **before}, out=dg.Out(dg.Nothing), description=step.call.title)
    def compute(context: dg.OpExecutionContext, planned: Any) -> Iterator[Any]:
        try:
            with interruptible():
                facts = run_step(
                    planned["overrides"],
                    planned["keys"][number],
                    multirun=multirun,
                    config_dirs=folders,
                    promise=planned["promise"],
                    observer=StepLog(context),
                )
        except BadInput as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        yield from events_of(facts, stage, subcommand)

    op: dg.OpDefinition = compute
    return op


def _assets(steps: Iterable[Step]) -> list[dg.AssetSpec]:
    """The artifacts of steps, one asset for each subcommand, after those that it receives."""
    kinds: dict[tuple[str, str], set[tuple[str, str]]] = {}
    known: dict[str, Step] = {}
    for step in steps:
        known[step.key] = step
        if step.call.returns is not None:
            received = kinds.setdefault((step.call.stage, step.call.subcommand), set())
            received |= {(known[key].call.stage, known[key].call.subcommand) for key in step.needs.values()}
    return [
        dg.AssetSpec(list(kind), deps=[list(other) for other in sorted(deps - {kind})], group_name=kind[0])
        for kind, deps in kinds.items()
    ]
