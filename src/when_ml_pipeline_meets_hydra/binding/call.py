"""Typed calls: plain values, which load neither Hydra nor pydantic."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.settings import NAMES as SETTINGS
from when_ml_pipeline_meets_hydra.binding.settings import Settings
from when_ml_pipeline_meets_hydra.composing.job import GLOBALS, OPS
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass, field

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.job import Job
    from when_ml_pipeline_meets_hydra.contracts import Artifact, Claim

UNKNOWN_CODE = "unknown "  # begins the version of code that is in no file


DATA = " (content)"  # how the fingerprint of an option's data is named in the inputs of a step, after the option


def content_of(name: str) -> str:
    """Return the name under which the fingerprint of an option's data stands in the inputs of a step."""
    return f"{name}{DATA}"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a subcommand: function, validated arguments, and the calls whose artifacts it receives (``needs``).

    ``keyed`` are the arguments as they enter the step's key, ``code`` the version of the function's source, ``after``
    the stages that come before this one. ``element`` is the name of the element for which a mapped subcommand is
    called; ``preceding`` are calls that come before it without handing anything over; ``consulted`` are the config keys
    that decided about these and about elements. The arguments of an op of a job file are below a key of their own.
    """

    stage: str
    subcommand: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    needs: Mapping[str, Call]
    keyed: Mapping[str, Any]
    code: str
    after: tuple[str, ...]
    returns: type[Artifact] | None
    is_effect: bool
    element: str | None = None
    preceding: tuple[Call, ...] = ()
    consulted: frozenset[str] = frozenset()
    is_op: bool = False

    @property
    def specials(self) -> frozenset[str]:
        """The special parameters (``out``, ``progress``, …) of the function."""
        from when_ml_pipeline_meets_hydra.binding.signature import signature_of

        return signature_of(self.function).specials

    @property
    def received(self) -> frozenset[str]:
        """The config keys of its arguments."""
        return frozenset({OPS, GLOBALS}) if self.is_op else received_keys(self.arguments) | self.consulted

    def known(self, rule: Callable[..., Any]) -> dict[str, Any]:
        """The values for the parameters of a rule: arguments of this call or of one that it needs; otherwise None."""
        from inspect import signature

        values = {n: v for call in self.needs.values() for n, v in call.arguments.items()} | {**self.arguments}
        return {name: values.get(name) for name in signature(rule).parameters}

    @cached_property
    def claim(self) -> Claim | None:
        """The place that it claims for its combination; None for most subcommands."""
        rule = getattr(self.function, "claim", None)
        return rule(**self.known(rule)) if rule else None

    @property
    def has_known_code(self) -> bool:
        """False if the function's code is in no file, so that another process cannot tell whether it has changed."""
        return not self.code.startswith(UNKNOWN_CODE)

    @property
    def name(self) -> str:
        """Stage and subcommand: ``modeling train``."""
        return f"{self.stage} {self.subcommand}"

    @property
    def title(self) -> str:
        """Its name with the element: ``modeling train [fold 1/5]``."""
        return title_of(self.stage, self.subcommand, self.element)


def received_keys(arguments: Mapping[str, Any]) -> frozenset[str]:
    """Return the config keys of arguments, with those of the options inside them."""
    from when_ml_pipeline_meets_hydra.binding.keys import chosen_fields, nested_options

    options: Iterable[Any] = (type(part) for value in arguments.values() for part in nested_options(value))
    return frozenset(chain(arguments, *(chosen_fields(option) for option in options)))


def title_of(stage: str, subcommand: str, element: str | None) -> str:
    """Return the name of a step: ``modeling train``, or ``modeling train [fold 1/5]`` for an element."""
    return f"{stage} {subcommand} [{element}]" if element else f"{stage} {subcommand}"


def element_name(parameter: str, number: int) -> str:
    """Return the name under which a parameter's artifact for an element stands in ``needs``: ``modeling[0]``."""
    return f"{parameter}[{number}]"


def gathered(function: Callable[..., Any], received: Mapping[str, Any]) -> dict[str, Any]:
    """Return artifacts by parameter of a function, with those of elements (``modeling[0]``, …) as one tuple."""
    from when_ml_pipeline_meets_hydra.binding.signature import each_of, signature_of

    found: dict[str, Any] = {n: () for n, hint in signature_of(function).parameters.items() if each_of(hint)}
    for name, artifact in received.items():
        parameter, is_element, _ = name.partition("[")
        found[parameter] = (*found.get(parameter, ()), artifact) if is_element else artifact
    return found


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The call of each job, the settings of the run, and the secret and foreign keys of the configs."""

    calls: tuple[tuple[Job, Call], ...]
    settings: Settings
    secret_keys: frozenset[str] = frozenset()
    redactor: Redactor = field(default_factory=Redactor)
    foreign: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def all_calls(self) -> tuple[Call, ...]:
        """The calls of all jobs and those that they need, each once."""
        found: dict[int, Call] = {}
        todo = [call for _, call in self.calls]
        while todo:
            call = todo.pop()
            if id(call) not in found:
                found[id(call)] = call
                todo += (*call.needs.values(), *call.preceding)
        return tuple(found.values())

    @property
    def received(self) -> set[str]:
        """The config keys that the calls receive."""
        return {key for call in self.all_calls for key in call.received}

    @property
    def unused(self) -> tuple[str, ...]:
        """The overrides, and keys of a user's option files, without effect: no call receives them."""
        received = self.received | {*SETTINGS}
        lines = dict.fromkeys(line for job, _ in self.calls for line in job.values)
        tops = {line: re.split(r"[.=]", line.lstrip("+~"), maxsplit=1)[0] for line in lines}
        tops |= {f"{key} ({origin})": key for key, origin in self.foreign.items()}
        if any(top not in received for top in tops.values()):
            received |= {
                key for raw in {id(j.raw): j.raw for j, _ in self.calls}.values() for key in _named(raw, received)
            }
        return tuple(line for line, top in tops.items() if top not in received)


_NAMED = re.compile(r"\$\{\s*\.*([A-Za-z_]\w*)")


def _named(raw: Mapping[str, Any], keys: Iterable[str]) -> set[str]:
    """The top-level keys that the interpolations of some keys refer to, directly or not."""
    found, todo = set(keys), list(keys)
    while todo:
        new = {*_NAMED.findall(json.dumps(raw.get(todo.pop()), default=str))} - found
        found |= new
        todo += new
    return found
