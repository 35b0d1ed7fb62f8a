"""The lines of ``jobs.jsonl``: one per job, with its resolved config last, so that it can be passed over."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from when_ml_pipeline_meets_hydra.masking import MASK

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.job import Job
    from when_ml_pipeline_meets_hydra.masking import Redactor

CONFIG = ', "config": '  # cannot occur inside a JSON string, where quotes are escaped
encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(,[^{}]*)?\}")


class JobLines:
    """The lines of ``jobs.jsonl``; config nodes that jobs share are masked and encoded once."""

    def __init__(self, redactor: Redactor, secret: frozenset[str], requested: Mapping[int, str]) -> None:
        self.requested, self._redactor, self._secret = dict(requested), redactor, secret
        self._combinations: dict[Sequence[str], int] = {}
        self._parts: dict[tuple[str, int, int], _Part] = {}
        self.override = cache(lambda line: redactor.override(line, secret))

    def line(self, job: Job) -> bytes:
        """Return the line of a job, with its secrets masked."""
        head = {
            "number": job.number,
            "stage": job.stage,
            "combination": self._combinations.setdefault(job.combination, len(self._combinations)),
            "key": self.requested.get(job.number),
            "overrides": [self.override(o) for o in job.overrides],
            "choices": _choices(job.chosen),
        }
        parts = [self._part(key, value, job.raw.get(key)) for key, value in job.config.items()]
        if variables := {path: name for part in parts for path, name in part.variables}:
            head["variables"] = variables
        config = ", ".join(f"{encode(key)}: {part.text}" for key, part in zip(job.config, parts, strict=True))
        return f"{encode(head)[:-1]}{CONFIG}{{{config}}}}}\n".encode(errors="backslashreplace")

    def _part(self, key: str, value: Any, raw: Any) -> _Part:
        state = key, id(value), id(raw)
        if (found := self._parts.get(state)) is None:
            if len(self._parts) >= 10_000:
                self._parts.clear()
            masked = self._redactor.tree(value, self._secret, key)
            variables = tuple(_variables(masked, raw, key))
            found = self._parts[state] = _Part(encode(masked), variables, (value, raw))
        return found


class _Part(NamedTuple):
    """One key of a config as JSON, the variables behind its masked values, and the objects that it was made from.

    (These are kept, so that their ids are not given to other objects.)
    """

    text: str
    variables: tuple[tuple[str, str], ...]
    made_from: tuple[Any, Any]


def _variables(masked: Any, raw: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the key of each masked value that is an environment variable, with its name."""
    if isinstance(masked, dict) and isinstance(raw, dict):
        for key, value in masked.items():
            yield from _variables(value, raw.get(key), f"{path}.{key}")
    elif isinstance(masked, list) and isinstance(raw, list):
        for number, (value, written) in enumerate(zip(masked, raw, strict=False)):
            yield from _variables(value, written, f"{path}[{number}]")
    elif masked == MASK and isinstance(raw, str) and (named := _VARIABLE.fullmatch(raw)) and named[1] in os.environ:
        yield path, named[1]


def _choices(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the chosen options by group as in overrides: ``fit/knobs``, not ``fit/knobs@fit_sub.knobs``."""
    found: dict[str, str] = {}
    for group, option in chosen.items():
        name = group.partition("@")[0]
        if name != "c" and not name.startswith("hydra"):
            found[group if name in found else name] = option
    return found
