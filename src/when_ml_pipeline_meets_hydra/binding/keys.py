"""What of validated arguments goes into the key of a step, and how option classes mark their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, SecretBytes, SecretStr

from when_ml_pipeline_meets_hydra.contracts import Chosen, Several, Unkeyed
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest


def keyed(value: Any) -> Any:
    """``value`` as JSON, without secrets and without fields that are marked ``Unkeyed``."""
    if dataclasses.is_dataclass(value) or isinstance(value, BaseModel):
        cls: type = type(value)
        fields = {n: keyed(getattr(value, n)) for n in keyed_fields(cls)}
        return {"type": f"{cls.__module__}.{cls.__qualname__}", **fields}
    if isinstance(value, Mapping):
        return {str(k): keyed(v) for k, v in value.items() if not isinstance(v, SecretStr | SecretBytes)}
    if isinstance(value, list | tuple):
        return [keyed(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((keyed(v) for v in value), key=digest)
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value) if isinstance(value, PurePath) else repr(value)


@lru_cache(maxsize=1024)
def hints_of(cls: type) -> dict[str, Any]:
    """The annotated fields of an option class, with their metadata."""
    names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else list(cls.model_fields)  # type: ignore[attr-defined]
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in names}


def follows(value: Any, protocol: type) -> bool:
    """Whether a value has the methods of a protocol; looked up once for each class."""
    kind: Any = type(value)
    return _follows(kind, protocol)


@lru_cache(maxsize=4096)
def _follows(kind: Any, protocol: type) -> bool:
    return issubclass(kind, protocol)


@lru_cache(maxsize=1024)
def keyed_fields(cls: type) -> tuple[str, ...]:
    """The fields that change what a step computes."""
    return tuple(n for n, hint in hints_of(cls).items() if not (is_secret(hint) or _marked(hint)))


@lru_cache(maxsize=1024)
def chosen_fields(cls: Any) -> dict[str, Any]:
    """The fields of an option class that are options of their own, with their annotations."""
    return _fields_marked(cls, Chosen)


@lru_cache(maxsize=1024)
def several_fields(cls: Any) -> dict[str, Any]:
    """The fields of an option class that hold options by name, with the annotation of one of them."""
    return {n: get_args(hint)[1] for n, hint in _fields_marked(cls, Several).items()}


def parts_of(option: Any) -> Iterator[Any]:
    """An option, and the options that are its fields or inside them."""
    kind: Any = type(option)
    yield option
    for name in chosen_fields(kind):
        yield from parts_of(getattr(option, name))
    for name in several_fields(kind):
        for part in getattr(option, name).values():
            yield from parts_of(part)


def is_secret(hint: Any) -> bool:
    """Whether a field of this annotation holds a secret (``SecretStr``, also ``SecretStr | None``)."""
    return hint in (SecretStr, SecretBytes) or any(is_secret(a) for a in get_args(hint) if a is not Unkeyed)


def _fields_marked(cls: Any, mark: type) -> dict[str, Any]:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return {}
    hints = hints_of(cls).items()
    return {n: get_args(h)[0] for n, h in hints if any(isinstance(m, mark) for m in getattr(h, "__metadata__", ()))}


def _marked(hint: Any) -> bool:
    return any(m is Unkeyed or isinstance(m, Unkeyed) for m in getattr(hint, "__metadata__", ()))
