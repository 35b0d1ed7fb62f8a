"""Rules of subcommands: functions whose parameters are config keys."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.binding.signature import Signature, each_of
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.errors import Problem


def keys_of(rule: Callable[..., Any]) -> frozenset[str]:
    """Return the config keys that a rule reads."""
    return frozenset(inspect.signature(rule).parameters)


def consulted_by(signature: Signature) -> frozenset[str]:
    """Return the config keys that decide about elements, and about parameters marked ``Wanted``."""
    lists = (each.of for hint in signature.parameters.values() if (each := each_of(hint)))
    rules = (*lists, *(mark.when for mark in signature.wanted.values()))
    return frozenset(chain(*([of.partition(".")[0]] if isinstance(of, str) else keys_of(of) for of in rules)))


def disagreements(
    function: Callable[..., Any], arguments: Mapping[str, Any], needs: Mapping[str, Call], job: Job
) -> Iterator[Problem]:
    """Check a subcommand's rule (``agreed``) with its arguments and those of the calls that it needs."""
    if rule := getattr(function, "rule", None):
        known = {n: v for call in needs.values() for n, v in call.arguments.items()} | {**arguments}
        for problem in rule(**{n: known.get(n) for n in inspect.signature(rule).parameters}):
            yield replace(problem, origin=problem.origin or job.origins.of(problem.key))
