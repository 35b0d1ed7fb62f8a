"""Bind configs to typed calls, a function with validated arguments each; report all errors of all jobs at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_type_hints

from when_ml_pipeline_meets_hydra.binding.bind_cache import BindCache
from when_ml_pipeline_meets_hydra.binding.binder import Binder
from when_ml_pipeline_meets_hydra.binding.call import Bound, Call
from when_ml_pipeline_meets_hydra.binding.hydra_targets import hydra_problems
from when_ml_pipeline_meets_hydra.binding.keys import chosen_fields, several_of
from when_ml_pipeline_meets_hydra.binding.objective import complete
from when_ml_pipeline_meets_hydra.binding.ops import malformed_ops, requested_ops
from when_ml_pipeline_meets_hydra.binding.options import unused_choices
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets, named_packages
from when_ml_pipeline_meets_hydra.binding.settings import NAMES, Settings, settings_of
from when_ml_pipeline_meets_hydra.binding.signature import artifact_kind, rules_of
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages
from when_ml_pipeline_meets_hydra.composing.job import UNRESOLVED, Composed, Job
from when_ml_pipeline_meets_hydra.composing.tree import Stage
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged

_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")  # to another key


def bind(composed: Composed, cache: BindCache | None = None) -> Bound:
    """Bind every job to the call of its stage, and validate the settings of the run.

    With a ``cache``, calls of earlier jobs, whose configs still exist, are used again. Raises ``BadInput`` with all
    problems of all jobs.
    """
    cache = cache or BindCache()
    settings, wrong_settings = _settings(composed, cache)
    composed = replace(composed, problems=(*composed.problems, *wrong_settings))
    problems: list[Problem] = []
    keys, redactor = cache.secrets or find_secrets(composed)
    reported = {(p.key, n) for p in composed.problems for n in p.jobs or [job.number for job in composed.jobs]}
    if composed.jobs:
        first = composed.jobs[0]
        allowed = allowed_packages(named_packages(first))
        problems += hydra_problems(composed.hydra, allowed, first.origins.of)
    bound = []
    requested: dict[tuple[str, ...], set[str]] = {}
    for job in composed.jobs:
        requested.setdefault(job.combination, set()).update([job.stage, *requested_ops(job)])
    for job in composed.jobs:
        wrong = list(malformed_ops(job))
        binder = Binder(job, composed.stages, wrong, redactor, cache, frozenset(requested[job.combination]))
        bound.append((job, _call(binder, job)))
        problems += (replace(p, jobs=(job.number,)) for p in wrong if (p.key, job.number) not in reported)
    # Consequences of an override that was dropped are not reported.
    new = [p for p in problems if p.key.partition(".")[0] not in composed.invalid_choices]
    found = [*composed.problems, *(new or ([] if composed.problems else problems))]
    if found := list(_causes([p for p in found if p.message != UNRESOLVED] or found, composed.jobs)):
        raise BadInput(*merged((p.masked(partial(redactor.at, p.key)) for p in found), len(composed.jobs)))
    assert settings is not None, "problems with the settings were raised"
    calls = tuple((job, call) for job, call in bound if call)
    result = Bound(calls=calls, settings=settings, secret_keys=keys, redactor=redactor, foreign=composed.foreign)
    if unused := list(unused_choices(composed, result.received)):
        raise BadInput(*unused)
    objective, wrong_objective = complete(settings.objective, result.all_calls)
    if wrong_objective:
        raise BadInput(*(replace(p, origin=composed.jobs[0].origins.of(p.key)) for p in wrong_objective))
    return replace(result, settings=replace(settings, objective=objective))


def _call(binder: Binder, job: Job) -> Call | None:
    """Return the call of a job's stage. With a job file, the stages before it precede it, also if it needs none."""
    call = binder.call(job.stage)
    others = [binder.call(op) for op in requested_ops(job) if op != job.stage]
    return replace(call, preceding=(*call.preceding, *filter(None, others))) if call and others else call


def _settings(composed: Composed, cache: BindCache) -> tuple[Settings | None, list[Problem]]:
    """Return the settings of a run, and their problems."""
    states = {tuple(id(job.config.get(name)) for name in NAMES) for job in composed.jobs}
    state = next(iter(states)) if len(states) == 1 else ()
    if state in cache.settings:
        return cache.settings[state], []
    settings, problems = settings_of(composed)
    if state and settings and not problems:
        cache.settings[state] = settings
    return settings, problems


def _causes(problems: Sequence[Problem], jobs: Sequence[Job]) -> Iterator[Problem]:
    """Yield the problems but those of values that are taken from other keys with problems in the same job."""
    keys: dict[int | None, set[str]] = {}
    for problem in problems:
        for number in problem.jobs or (None,):
            keys.setdefault(number, set()).add(problem.key)
    raw = {job.number: job.raw for job in jobs}
    first = next(iter(raw.values()), {})
    for problem in problems:
        number = problem.jobs[0] if problem.jobs else None
        wrong = keys[number] | keys.get(None, set())
        text = _written_at(problem.key, first if number is None else raw.get(number, first))
        taken_from = _REFERENCE.findall(text) if isinstance(text, str) else ()
        if not any(f"{name}.".startswith(f"{key}.") for name in taken_from for key in wrong if key != problem.key):
            yield problem


def _written_at(key: str, raw: Any) -> Any:
    """The unresolved value of a key."""
    for part in key.split("."):
        raw = raw.get(part) if isinstance(raw, Mapping) else None
    return raw


@dataclass(frozen=True, kw_only=True)
class Description:
    """Inputs of a subcommand: config keys with their types, and artifacts of other stages."""

    summary: str
    keys: Mapping[str, Any]
    artifacts: Mapping[str, str]


def describe(job: Job, stages: Mapping[str, Stage], stage: str) -> Description:
    """Describe the inputs of the subcommand of a job's ``stage``; values are not validated. Raises ``BadInput``."""
    problems: list[Problem] = []
    binder = Binder(job, stages, problems)
    if (found := binder.function(stage)) is None:
        raise BadInput(*problems)
    binder = binder.within(stage)
    function, signature = found
    doc = inspect.getdoc(function) or ""
    received = {n: h for n, h in signature.parameters.items() if binder.is_stage(n, h)}
    hints = {n: h for n, h in signature.parameters.items() if n not in received}
    received = {n: h for n, h in received.items() if n not in signature.wanted}
    hints |= {
        n: h for rule in rules_of(function, signature) for n, h in get_type_hints(rule, include_extras=True).items()
    }
    hints.pop("return", None)
    hints |= {n: h for name, hint in hints.items() for n, h in chosen_fields(binder.wanted(name, hint)).items()}
    keys = {n: binder.wanted(n, h) for n, h in hints.items()}
    members = {n: k for key, hint in keys.items() for n, k in binder.members(key, hint)}
    keys = {n: hint for n, hint in keys.items() if several_of(hint) is None}
    artifacts = {n: artifact_kind(h) for n, h in received.items()}
    return Description(
        summary=doc.partition("\n")[0],
        keys={f"{binder.place}{name}": hint for name, hint in (keys | members).items()},
        artifacts={n: getattr(h, "__name__", str(h)) for n, h in artifacts.items()},
    )
