"""Check the launcher, the data and the servers of the steps that will run, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.binding.keys import chosen_fields, implements
from when_ml_pipeline_meets_hydra.binding.ops import seen_by
from when_ml_pipeline_meets_hydra.binding.options import qualified_field
from when_ml_pipeline_meets_hydra.composing.job import Composed
from when_ml_pipeline_meets_hydra.contracts import Checked
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged
from when_ml_pipeline_meets_hydra.planning.claims import claim_problems
from when_ml_pipeline_meets_hydra.planning.plan import Plan


def check(plan: Plan, bound: Bound, composed: Composed) -> None:
    """Check the launcher, what combinations claim, and every option of the steps to run that implements ``Checked``.

    Raises ``BadInput`` with all problems.
    """
    problems = [
        *_launcher_problems(bound, composed),
        *claim_problems(plan, bound.settings.objective),
        *_option_problems(plan, bound),
    ]
    if problems := problems or list(_data_problems(plan, bound)):
        raise BadInput(*merged(problems))


def _launcher_problems(bound: Bound, composed: Composed) -> Iterator[Problem]:
    if bound.settings.orchestrator is not None:
        yield from bound.settings.orchestrator.check()
    elif bound.settings.n_jobs is None:  # a launcher plugin, which may be missing
        from when_ml_pipeline_meets_hydra.composing.hydra_config import whole_config
        from when_ml_pipeline_meets_hydra.composing.launcher_plugins import launcher_problem

        if problem := launcher_problem(whole_config(composed.jobs[0].config, composed.hydra)):
            yield problem


def _option_problems(plan: Plan, bound: Bound) -> Iterator[Problem]:
    jobs = {job.number: job for job, _ in bound.calls}
    checked: set[tuple[str, Any]] = set()
    for step in plan.to_run:
        for name, value in step.call.arguments.items():
            if implements(value, Checked) and (known := (name, _comparable(value))) not in checked:
                checked.add(known)
                kind: Any = type(value)
                own, (job, placed) = {*_config_keys(kind, value)}, seen_by(step.call, jobs[step.jobs[0]])
                problems = (placed(qualified_field(name, own, p, job)) for p in value.check())
                yield from (p.masked(partial(bound.redactor.at, p.key)) for p in problems)


def _config_keys(kind: Any, option: Any) -> Iterator[str]:
    """The fields of an option, and of the options in these, that are config keys themselves."""
    for name in chosen_fields(kind):
        yield name
        nested: Any = getattr(option, name, None)
        yield from _config_keys(type(nested), nested) if nested is not None else ()


def _comparable(value: Any) -> Any:
    """The value itself, so that equal ones (those of several folds) are checked once; its id if it has no hash."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def _data_problems(plan: Plan, bound: Bound) -> Iterator[Problem]:
    """Check the arguments of each step together, by the rule of its subcommand that reads data (``checked``)."""
    jobs = {job.number: job for job, _ in bound.calls}
    for step in plan.to_run:
        if rule := getattr(step.call.function, "data_rule", None):
            job, placed = seen_by(step.call, jobs[step.jobs[0]])
            for problem in rule(**step.call.known(rule)):
                found = placed(replace(problem, origin=problem.origin or job.origins.of(problem.key)))
                yield found.masked(partial(bound.redactor.at, found.key))
