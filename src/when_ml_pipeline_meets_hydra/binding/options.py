"""Convert a config key into a typed option: of the class in its ``_target_``, otherwise of the annotation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.keys import (
    called_field,
    chosen_fields,
    functions_allowed,
    several_fields,
    several_of,
)
from when_ml_pipeline_meets_hydra.binding.reading import read_again
from when_ml_pipeline_meets_hydra.binding.targets import OWN, is_kind, locate_callable, locate_class
from when_ml_pipeline_meets_hydra.binding.validation import validate
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader


def value_of(name: str, hint: Any, job: Job, allowed: Iterable[str], owner: type | None = None) -> Any:
    """Return the config key ``name`` of a job as an instance of ``hint``, for a field of ``owner``.

    Raises ``BadInput``.
    """
    return _value(name, job.config[name], hint, job, allowed, owner)


def _value(name: str, data: Any, hint: Any, job: Job, allowed: Iterable[str], owner: type | None = None) -> Any:
    if is_dataclass(data):  # an element of a list, as a function returned it
        return _instance(name, data, hint)
    problems = faults_of(name, job)
    if inner := several_of(hint):
        members = _members(name, data, inner, job, allowed, problems)
        if problems:
            raise BadInput(*dict.fromkeys(problems))
        return members
    faulty = {p.key for p in problems}
    wanted = hint
    if isinstance(data, dict) and "_target_" in data:
        base = hint if owner and _is_of_another_package(hint, owner) else None
        wanted = locate_class(data["_target_"], allowed, key=name, origin=job.origins.of, base=base)
        if not is_kind(wanted, hint):
            message = f"{wanted.__name__} is no {getattr(hint, '__name__', hint)}"
            raise BadInput(Problem(key=f"{name}._target_", message=message, origin=job.origins.of(name)))
        data = {k: v for k, v in data.items() if k != "_target_"}
    chosen, wrong = _chosen(wanted, job, allowed)
    problems += wrong
    faulty |= {f"{name}.{field}" for field in chosen_fields(wanted).keys() - chosen.keys()}
    if isinstance(data, dict) and (fields := several_fields(wanted)):
        for field, inner in fields.items():
            inside = f"{name}.{field}"
            chosen[field] = _members(inside, data.get(field), inner, job, allowed, problems, wanted)
        data = {k: v for k, v in data.items() if k not in fields}
    try:
        value = validate(
            wanted,
            _without(data, faulty, name),
            key=name,
            origin=job.origins.of,
            chosen=chosen,
            reread=partial(read_again, job),
        )
    except BadInput as error:
        # Errors of a node that contains a key without a value are not reported.
        problems += [p for p in error.problems if not any(f"{k}.".startswith(f"{p.key}.") for k in faulty)]
    if problems:
        raise BadInput(*problems)
    return value


def _is_of_another_package(hint: Any, owner: type) -> bool:
    """Return whether the annotation of a field is a class (no Protocol) of another package than the field's owner."""
    is_class = inspect.isclass(hint) and not getattr(hint, "_is_protocol", False)
    own, other = (getattr(cls, "__module__", "").partition(".")[0] for cls in (owner, hint))
    return is_class and other not in (own, OWN, "builtins")


def _instance(name: str, data: Any, hint: Any) -> Any:
    kind: Any = type(data)
    if not is_kind(kind, hint):
        message = f"{kind.__name__} is no {getattr(hint, '__name__', hint)}"
        raise BadInput(Problem(key=name, message=message))
    return data


def unused_choices(composed: Composed, received: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each option that belongs to another option which is not chosen.

    ``received`` are the config keys that the steps of the jobs receive.
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
    """Yield the options whose defaults list adds the group."""
    listed = re.compile(rf"^\s*- +/?{re.escape(group)}(@\S+)?:", re.MULTILINE)
    for other in loader.groups():
        for option in loader.options(other):
            file = loader.source_file(f"{other}/{option}")
            if file and listed.search(Path(file).read_text(encoding="utf-8", errors="replace")):
                yield f"{other}={option}"


def _chosen(hint: Any, job: Job, allowed: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values of the fields marked ``Chosen``, and their problems."""
    chosen: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, inner in chosen_fields(hint).items():
        if name not in job.config:
            message = f"{hint.__name__} needs this config key, which is not there"
            problems.append(Problem(key=name, message=message, origin=job.origins.of(name)))
            continue
        try:
            chosen[name] = value_of(name, inner, job, allowed, hint)
        except BadInput as error:
            problems += error.problems
    return chosen, problems


def qualified(name: str, problem: Problem, job: Job) -> Problem:
    """Return an option's problem with its full config key and origin."""
    key = f"{name}.{problem.key}" if problem.key else name
    origin = problem.origin or job.origins.of(key) or job.origins.of(name)
    return Problem(key=key, message=problem.message, value=problem.value, origin=origin, remedy=problem.remedy)


def qualified_field(name: str, own: Collection[str], problem: Problem, job: Job) -> Problem:
    """Return an option's problem with its full key, where the fields in ``own`` are config keys themselves."""
    first, _, rest = problem.key.partition(".")
    return qualified(first, replace(problem, key=rest), job) if first in own else qualified(name, problem, job)


def _members(
    key: str, data: Any, hint: Any, job: Job, allowed: Iterable[str], problems: list[Problem], owner: type | None = None
) -> dict[str, Any]:
    """Return the named options of a field or parameter marked ``Several``; errors are appended to ``problems``."""
    found: dict[str, Any] = {}
    functions = functions_allowed(owner, key.rpartition(".")[2]) if owner else None
    for name, part in data.items() if isinstance(data, dict) else ():
        try:
            if part is not None:
                named = functions and _of_function(f"{key}.{name}", part, functions, job, allowed)
                found[name] = named or _value(f"{key}.{name}", part, hint, job, allowed, owner)
        except BadInput as error:
            problems += error.problems
    if data is not None and not isinstance(data, dict):
        problems.append(Problem(key=key, message="expected a group of keys", origin=job.origins.of(key)))
    return found


def _of_function(name: str, data: Any, kind: type, job: Job, allowed: Iterable[str]) -> Any:
    """Return the option of class ``kind`` for the function in a ``_target_``; None if that is a class."""
    field, mark = called_field(kind)
    target = data.get("_target_") if isinstance(data, dict) else None
    if target is None:
        return None
    function = locate_callable(target, allowed, mark.parameters, key=name, origin=job.origins.of)
    if function is None:
        return None
    if problems := faults_of(name, job):
        raise BadInput(*problems)
    rest = {k: v for k, v in data.items() if k != "_target_"}
    again = partial(read_again, job)
    return validate(kind, rest, key=name, origin=job.origins.of, chosen={field: function}, reread=again)


def faults_of(name: str, job: Job) -> list[Problem]:
    """Return a problem for each key of an option (or the key itself) that has no value."""
    return [
        Problem(key=key, message=message, origin=job.origins.of(key), remedy=f"Give it: {key}=…")
        for key, message in job.faults.items()
        if key == name or key.startswith((f"{name}.", f"{name}["))
    ]


def _without(data: Any, keys: set[str], path: str) -> Any:
    """Return ``data`` without the keys that have no value, which are reported separately."""
    if not isinstance(data, dict):
        return data
    return {k: _without(v, keys, f"{path}.{k}") for k, v in data.items() if f"{path}.{k}" not in keys}
