"""Read values as the type that is wanted: a text as it was written, a number or truth value from the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from when_ml_pipeline_meets_hydra.composing.job import Job

TEXTS = ("string_type", "path_type", "url_type")  # pydantic's errors where a text is wanted
VALUES = ("int_type", "float_type", "bool_type")
_REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][\w.\[\]]*)\s*\}")
_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:[^{}]*\}")
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def read_again(job: Job, key: str, value: Any, error: str) -> Any:
    """Return the value of ``key`` as the type whose absence is pydantic's ``error``, or unchanged.

    ``dataset.target=3`` is the text ``3``, where a text is wanted; ``${oc.env:N}`` is a number, where one is wanted.
    """
    if error in TEXTS and isinstance(value, bool | int | float):
        return _text(job, key, value)
    if error in VALUES and isinstance(value, str) and _is_from_environment(job, key):
        return _value(value, error)
    return value


def _text(job: Job, key: str, value: Any) -> str:
    raw = _raw(job, key)
    while isinstance(raw, str) and (reference := _REFERENCE.fullmatch(raw)):
        key, raw = reference[1], _raw(job, reference[1])
    return job.origins.written(key) or (json.dumps(value) if isinstance(value, bool) else str(value))


def _value(text: str, error: str) -> Any:
    word = text.strip().lower()
    if error == "bool_type":
        return _TRUTH.get(word, text)
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word) if error == "float_type" else text
    except ValueError:
        return text


def _is_from_environment(job: Job, key: str) -> bool:
    raw, seen = _raw(job, key), {key}
    while isinstance(raw, str) and (reference := _REFERENCE.fullmatch(raw)) and reference[1] not in seen:
        seen.add(reference[1])
        raw = _raw(job, reference[1])
    return isinstance(raw, str) and _VARIABLE.fullmatch(raw) is not None


def _raw(job: Job, key: str) -> Any:
    node: Any = job.raw
    for part in re.sub(r"\[(\d+)\]", r".\1", key).split("."):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node
