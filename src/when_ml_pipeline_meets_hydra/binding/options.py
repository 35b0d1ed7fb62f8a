"""A config key as a typed option: of the class that its ``_target_`` names, otherwise of the annotation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_origin

from when_ml_pipeline_meets_hydra.binding.keys import chosen_fields, several_fields
from when_ml_pipeline_meets_hydra.binding.targets import locate
from when_ml_pipeline_meets_hydra.binding.validation import validate
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

NO_CLASS = "is a function, and an option is a class"


def value_of(name: str, hint: Any, job: Job, allowed: Iterable[str]) -> Any:
    """The config key ``name`` of a job as an instance of ``hint``. Raises ``BadInput``."""
    return _value(name, job.config[name], hint, job, allowed)


def _value(name: str, data: Any, hint: Any, job: Job, allowed: Iterable[str]) -> Any:
    problems = faults_of(name, job)
    faulty = {p.key for p in problems}
    wanted = hint
    if isinstance(data, dict) and "_target_" in data:
        wanted = locate(data["_target_"], allowed, key=name, origin=job.origins.of)
        if not inspect.isclass(wanted):
            origin = job.origins.of(f"{name}._target_")
            raise BadInput(Problem(key=f"{name}._target_", value=data["_target_"], message=NO_CLASS, origin=origin))
        data = {k: v for k, v in data.items() if k != "_target_"}
    chosen, wrong = _chosen(wanted, job, allowed)
    problems += wrong
    faulty |= {f"{name}.{field}" for field in chosen_fields(wanted).keys() - chosen.keys()}
    if isinstance(data, dict) and (fields := several_fields(wanted)):
        for field, inner in fields.items():
            chosen[field] = _members(f"{name}.{field}", data.get(field), inner, job, allowed, problems)
        data = {k: v for k, v in data.items() if k not in fields}
    try:
        value = validate(wanted, _without(data, faulty, name), key=name, origin=job.origins.of, chosen=chosen)
        if wanted is not hint and not _fits(value, hint):
            message = f"{wanted.__name__} is no {getattr(hint, '__name__', hint)}"
            problems.append(Problem(key=f"{name}._target_", message=message, origin=job.origins.of(name)))
    except BadInput as error:
        # What holds a key without a value is not judged.
        problems += [p for p in error.problems if not any(f"{k}.".startswith(f"{p.key}.") for k in faulty)]
    if problems:
        raise BadInput(*problems)
    return value


def idle_choices(composed: Composed, received: Collection[str]) -> Iterator[Problem]:
    """The chosen options of groups that only come with another option, where that one is not chosen.

    ``received`` are the config keys that any job's steps receive.
    """
    added = {(choice, job.overrides) for job in composed.jobs for choice in job.choices if choice.startswith("+")}
    for choice, overrides in sorted(added):
        if choice in overrides:
            continue
        group, _, name = choice.lstrip("+").partition("=")
        key = composed.loader().package(f"{group}/{name}")
        if key not in received and (owners := list(_owners(group, composed.loader()))):
            message = f"no step of this command reads '{key}'"
            remedy = f"It belongs to {' or '.join(owners)}: choose that as well"
            yield Problem(key=group, value=name, message=message, remedy=remedy)


def _owners(group: str, loader: Loader) -> Iterator[str]:
    """The options in whose defaults list a group is."""
    listed = re.compile(rf"^\s*- +/?{re.escape(group)}(@\S+)?:", re.MULTILINE)
    for other in loader.groups():
        for option in loader.options(other):
            file = loader.source_file(f"{other}/{option}")
            if file and listed.search(Path(file).read_text(encoding="utf-8", errors="replace")):
                yield f"{other}={option}"


def _chosen(hint: Any, job: Job, allowed: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The values of the fields that are options of their own, and what is wrong with them."""
    chosen: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, inner in chosen_fields(hint).items():
        if name not in job.config:
            message = f"{hint.__name__} needs this config key, which is not there"
            problems.append(Problem(key=name, message=message, origin=job.origins.of(name)))
            continue
        try:
            chosen[name] = value_of(name, inner, job, allowed)
        except BadInput as error:
            problems += error.problems
    return chosen, problems


def below(name: str, problem: Problem, job: Job) -> Problem:
    """A problem that an option reports, with its key and origin as the person knows them."""
    key = f"{name}.{problem.key}" if problem.key else name
    origin = problem.origin or job.origins.of(key) or job.origins.of(name)
    return Problem(key=key, message=problem.message, value=problem.value, origin=origin, remedy=problem.remedy)


def below_chosen(name: str, own: Collection[str], problem: Problem, job: Job) -> Problem:
    """The same, for an option some of whose fields are options of their ``own``."""
    first, _, rest = problem.key.partition(".")
    return below(first, replace(problem, key=rest), job) if first in own else below(name, problem, job)


def _members(
    key: str, data: Any, hint: Any, job: Job, allowed: Iterable[str], problems: list[Problem]
) -> dict[str, Any]:
    """The options by name that a field holds; what is wrong with them is appended to ``problems``."""
    found: dict[str, Any] = {}
    for name, part in data.items() if isinstance(data, dict) else ():
        try:
            if part is not None:
                found[name] = _value(f"{key}.{name}", part, hint, job, allowed)
        except BadInput as error:
            problems += error.problems
    if data is not None and not isinstance(data, dict):
        problems.append(Problem(key=key, message="expected a group of keys", origin=job.origins.of(key)))
    return found


def faults_of(name: str, job: Job) -> list[Problem]:
    """The keys of an option, or the key of a single value, that have no value."""
    return [
        Problem(key=key, message=message, origin=job.origins.of(key), remedy=f"Give it: {key}=…")
        for key, message in job.faults.items()
        if key == name or key.startswith((f"{name}.", f"{name}["))
    ]


def _fits(value: Any, hint: Any) -> bool:
    """Whether an option is what a function's annotation asks for."""
    kind = get_origin(hint)
    try:
        return hint is Any or isinstance(value, kind if inspect.isclass(kind) and kind is not UnionType else hint)
    except TypeError:
        return True  # a Protocol that cannot be looked at while the program runs


def _without(data: Any, keys: set[str], path: str) -> Any:
    """``data`` without the keys that have no value; they are reported by themselves."""
    if not isinstance(data, dict):
        return data
    return {k: _without(v, keys, f"{path}.{k}") for k, v in data.items() if f"{path}.{k}" not in keys}
