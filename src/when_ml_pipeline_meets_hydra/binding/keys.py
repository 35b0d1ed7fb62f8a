"""The part of validated arguments that enters the key of a step, and the marked fields of option classes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from when_ml_pipeline_meets_hydra.contracts import Called, Chosen, Several, Unkeyed
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest


def _as_it_is(key: str, value: Any) -> Any:
    return value


def keyed(value: Any, key: str = "", mark: Callable[[str, Any], Any] = _as_it_is) -> Any:
    """Return ``value`` as JSON values, without secrets and without fields marked ``Unkeyed``.

    ``mark(config key, value)`` returns each single value as it is to be keyed; ``key`` is the config key of ``value``.
    """
    if dataclasses.is_dataclass(value) or isinstance(value, BaseModel):
        cls: type = type(value)
        own = chosen_fields(cls)
        keys = {n: n if n in own else f"{key}.{n}" for n in keyed_fields(cls)}
        fields = {n: keyed(getattr(value, n), inner, mark) for n, inner in keys.items()}
        return {"type": f"{cls.__module__}.{cls.__qualname__}", **fields}
    if isinstance(value, Mapping):
        named = {str(k): v for k, v in value.items() if not isinstance(v, SecretStr | SecretBytes)}
        return {k: keyed(v, f"{key}.{k}", mark) for k, v in named.items()}
    if isinstance(value, list | tuple):
        return [keyed(v, key, mark) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((keyed(v, key, mark) for v in value), key=digest)
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return mark(key, value)
    if inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    if not isinstance(value, PurePath) and hasattr(value, "__dict__") and not callable(value):  # of a plain class
        cls = type(value)
        return {"type": f"{cls.__module__}.{cls.__qualname__}", **keyed(vars(value), key, mark)}
    return mark(key, str(value) if isinstance(value, PurePath) else repr(value))


@lru_cache(maxsize=1024)
def field_hints(cls: type) -> dict[str, Any]:
    """Return the annotations of an option class's fields, with their metadata."""
    names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else list(cls.model_fields)  # type: ignore[attr-defined]
    hints = get_type_hints(cls, include_extras=True)
    return {name: hints[name] for name in names}


def has_fields(hint: Any) -> bool:
    """Return whether an annotation is a class of options."""
    return isinstance(hint, type) and (dataclasses.is_dataclass(hint) or issubclass(hint, BaseModel))


def option_hints(hint: Any) -> Mapping[str, Any]:
    """Return the annotations of an option class's fields; none if it is no option or they cannot be resolved."""
    try:
        return field_hints(hint) if has_fields(hint) else plain_hints(hint) if is_plain_class(hint) else {}
    except NameError:
        return {}


def is_plain_class(hint: Any) -> bool:
    """Return whether an annotation is a class with an ``__init__`` of its own, which pydantic knows nothing of."""
    return isinstance(hint, type) and _is_plain(hint)


@lru_cache(maxsize=1024)
def _is_plain(cls: Any) -> bool:
    is_other = inspect.isabstract(cls) or has_fields(cls) or getattr(cls, "_is_protocol", False)
    if is_other or not inspect.isfunction(cls.__init__):
        return False
    try:
        return not TypeAdapter(cls)
    except PydanticSchemaGenerationError:
        return True
    except (PydanticUserError, NameError):
        return False


@lru_cache(maxsize=1024)
def plain_hints(cls: Any) -> dict[str, Any]:
    """Return the annotations of the parameters of a plain class."""
    return {name: hint for name, hint in get_type_hints(cls.__init__, include_extras=True).items() if name != "return"}


def implements(value: Any, protocol: type) -> bool:
    """Return whether a value implements a protocol; cached by class."""
    kind: Any = type(value)
    return _implements(kind, protocol)


@lru_cache(maxsize=4096)
def _implements(kind: Any, protocol: type) -> bool:
    return issubclass(kind, protocol)


@lru_cache(maxsize=1024)
def keyed_fields(cls: type) -> tuple[str, ...]:
    """Return the fields that enter the key of a step."""
    return tuple(n for n, hint in field_hints(cls).items() if not (is_secret(hint) or _marked(hint)))


@lru_cache(maxsize=1024)
def chosen_fields(cls: Any) -> dict[str, Any]:
    """Return the fields marked ``Chosen``, with their annotations."""
    return _fields_marked(cls, Chosen)


@lru_cache(maxsize=1024)
def several_fields(cls: Any) -> dict[str, Any]:
    """Return the fields marked ``Several``, with the annotation of a single option."""
    return {n: get_args(hint)[1] for n, hint in _fields_marked(cls, Several).items()}


def several_of(hint: Any) -> Any:
    """Return the annotation of a single option of a parameter marked ``Several``; None if it is not."""
    is_marked = any(isinstance(mark, Several) for mark in getattr(hint, "__metadata__", ()))
    return get_args(get_args(hint)[0])[1] if is_marked else None


def functions_allowed(cls: Any, name: str) -> type | None:
    """Return the class of a function in a field marked ``Several``; None if only classes are options there."""
    marks = getattr(field_hints(cls)[name], "__metadata__", ())
    return next((mark.functions for mark in marks if isinstance(mark, Several)), None)


def called_field(cls: type) -> tuple[str, Called]:
    """Return the name of the field that holds a function, and its mark."""
    marked = ((n, m) for n, h in field_hints(cls).items() for m in getattr(h, "__metadata__", ()))
    return next((n, m) for n, m in marked if isinstance(m, Called))


def nested_options(option: Any) -> Iterator[Any]:
    """Yield an option and, recursively, the options in its fields."""
    kind: Any = type(option)
    yield option
    if isinstance(option, Mapping):  # of a parameter marked ``Several``
        for part in option.values():
            yield from nested_options(part)
    for name in chosen_fields(kind):
        yield from nested_options(getattr(option, name))
    for name in several_fields(kind):
        for part in getattr(option, name).values():
            yield from nested_options(part)


def modules_of(option: Any) -> Iterator[str]:
    """Yield the modules of an option's classes, and of a function in its fields."""
    yield from (cls.__module__ for cls in type(option).__mro__)
    yield from (value.__module__ for value in getattr(option, "__dict__", {}).values() if inspect.isfunction(value))


def is_secret(hint: Any) -> bool:
    """Return whether an annotation is a secret type (``SecretStr``, also ``SecretStr | None``)."""
    return hint in (SecretStr, SecretBytes) or any(is_secret(a) for a in get_args(hint) if a is not Unkeyed)


def _fields_marked(cls: Any, mark: type) -> dict[str, Any]:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return {}
    hints = field_hints(cls).items()
    return {n: get_args(h)[0] for n, h in hints if any(isinstance(m, mark) for m in getattr(h, "__metadata__", ()))}


def _marked(hint: Any) -> bool:
    return any(m is Unkeyed or isinstance(m, Unkeyed) for m in getattr(hint, "__metadata__", ()))
