"""Relative paths in the arguments of a step that runs in another working folder than its run."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def anchored(value: Any, folder: str) -> Any:
    """Return ``value`` with its relative paths, also those in options, made absolute from ``folder``."""
    if isinstance(value, PurePath):
        return value if value.is_absolute() else type(value)(folder) / value
    if isinstance(value, Mapping):
        return {key: anchored(inner, folder) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(anchored(inner, folder) for inner in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    clone = copy.copy(value)  # not ``replace``, which would validate it once more
    for field in dataclasses.fields(value):
        object.__setattr__(clone, field.name, anchored(getattr(value, field.name), folder))
    return clone
