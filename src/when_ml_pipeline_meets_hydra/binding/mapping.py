"""Mapped subcommands: the elements of a parameter marked ``Each``, and the config of a job for one of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from when_ml_pipeline_meets_hydra.binding.keys import keyed
from when_ml_pipeline_meets_hydra.binding.options import value_of
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.contracts import Each
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest


@dataclass(frozen=True, kw_only=True)
class Element:
    """An element of a list, in place of the config key ``key``; ``place`` is its own key in the config, if it has one.

    ``id`` is a digest of it.
    """

    key: str
    value: Any
    name: str
    place: str
    id: str


# In place of no key: the step of a stage as it is for elements, for the step of the stage itself.
ITSELF = Element(key="", value=None, name="as trained", place="", id="itself")


def consulted(rule: Callable[..., Any], job: Job, allowed: Iterable[str]) -> dict[str, Any]:
    """Return the values of the config keys that are the parameters of a rule. Raises ``BadInput``."""
    hints = get_type_hints(rule, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, parameter in inspect.signature(rule).parameters.items():
        try:
            if name not in job.config and parameter.default is not parameter.empty:
                continue
            if name not in job.config:
                raise BadInput(_missing(name, job))
            values[name] = value_of(name, hints.get(name, Any), job, allowed)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(*problems)
    return values


def _missing(name: str, job: Job) -> Problem:
    if deleted := job.origins.deletion(name):
        group, default = deleted
        leave_out = f"Leave out ~{group}" + (f": the default is {group}={default}" if default else "")
        return Problem(key=group, message="a choice is needed", origin=job.origins.of(group), remedy=leave_out)
    remedy = did_you_mean(name, job.config)
    return Problem(key=name, message="a value is needed", origin=job.origins.of(name), remedy=remedy)


def elements_of(each: Each, job: Job, allowed: Iterable[str], known: dict[str, Any]) -> list[Element]:
    """Return the elements of a list in the config, or of the one that a function returns. Raises ``BadInput``.

    Equal elements are the same object, kept in ``known``.
    """
    place = each.of if isinstance(each.of, str) else each.key
    values = _listed(each.of, job) if isinstance(each.of, str) else _returned(each.of, job, allowed)
    found = []
    for number, value in enumerate(values):
        named = digest(keyed(value))
        element = known.setdefault(named, value)
        own = f"{place}[{number}]" if isinstance(each.of, str) else each.key
        found.append(Element(key=each.key, value=element, name=_name(value, number), place=own, id=named))
    return found


def _returned(function: Callable[..., Sequence[Any]], job: Job, allowed: Iterable[str]) -> Sequence[Any]:
    values = consulted(function, job, allowed)
    try:
        return function(**values)
    except BadInput as error:
        raise BadInput(*(replace(p, origin=p.origin or job.origins.of(p.key)) for p in error.problems)) from None


def _listed(key: str, job: Job) -> Sequence[Any]:
    first, *rest = key.split(".")
    node: Any = job.config.get(first)
    for part in rest:
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, list):
        origin = job.origins.of(key)
        raise BadInput(Problem(key=key, message="a list is needed: a step for each of its elements", origin=origin))
    return node


def _name(value: Any, number: int) -> str:
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    plain = name if name is not None else value
    return str(plain) if isinstance(plain, str | int | float) else str(number + 1)


def job_for(job: Job, element: Element) -> Job:
    """Return a job in whose config an element takes the place of its key."""
    return replace(job, config=_WithElement(job.config, element))


class _WithElement(Mapping[str, Any]):
    """A config with an element in place of one key."""

    def __init__(self, config: Mapping[str, Any], element: Element) -> None:
        self._config, self._element = config, element

    def __getitem__(self, key: str) -> Any:
        return self._element.value if key == self._element.key else self._config[key]

    def __contains__(self, key: object) -> bool:
        return key == self._element.key or key in self._config

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._config), self._element.key: None})

    def __len__(self) -> int:
        return len(list(iter(self)))


def of_element(problem: Problem, element: Element, job: Job) -> Problem:
    """Return a problem of an element with the element's own key in place of the key that it takes."""
    end = problem.key.removeprefix(element.key)
    if end == problem.key or (end and end[0] not in ".["):
        return problem
    key = element.place + end
    return replace(problem, key=key, origin=problem.origin or job.origins.of(key))


def unmapped(stage: str, each: Each) -> Problem:
    """Return the problem of a list over which a stage cannot be mapped, since it does not read the element."""
    message = f"'{stage}' and the stages that it needs do not read '{each.key}', so each element would give the same"
    remedy = f"Give the subcommand that makes the difference a parameter '{each.key}'"
    return Problem(key=f"{stage}_sub", message=message, remedy=remedy)
