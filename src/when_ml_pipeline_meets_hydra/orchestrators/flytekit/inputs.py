"""The options of a step as typed inputs of Flyte: plain values, and the JSON schemas of their classes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError

from when_ml_pipeline_meets_hydra.binding.call import DATA
from when_ml_pipeline_meets_hydra.binding.keys import chosen_fields, field_hints, has_fields, keyed_fields

OPTION = "option"  # the kind of an input that is an option, with the schema of its class
_PLAIN = {bool: "bool", int: "int", float: "float", str: "str"}


@dataclass(frozen=True, kw_only=True)
class Input:
    """A typed input: ``kind`` is ``OPTION``, or ``bool | int | float | str``, with ``?`` if it may be null."""

    value: Any
    kind: str
    schema: Mapping[str, Any] | None = None


def inputs_of(inputs: Mapping[str, Any]) -> dict[str, Input]:
    """Return the typed inputs of a step by its ``inputs``, which contain no secrets.

    An option inside another one that has a config key of its own, such as ``connection``, is an input of its own.
    """
    function = _named(inputs["function"])
    hints = get_type_hints(function, include_extras=True)
    found: dict[str, Input] = {}
    for name, value in inputs["arguments"].items():
        if not name.endswith(DATA):
            for key, own in _inputs(name, value, hints.get(name)):
                found.setdefault(key, own)
    return found


def _inputs(name: str, value: Any, hint: Any) -> Iterator[tuple[str, Input]]:
    cls = _class_of(value)
    if cls is None:
        kind = _kind(hint)
        is_text = kind.startswith("str") and not isinstance(value, str | NoneType)
        yield name, Input(value=json.dumps(value, ensure_ascii=False) if is_text else value, kind=kind)
        return
    own = chosen_fields(cls)
    plain = {key: _without_types(part) for key, part in value.items() if key not in own and not _is_type(key, cls)}
    yield name, Input(value=plain, kind=OPTION, schema=_schema(cls, plain, dict(_keyed(value))))
    for key in own:
        if key in value:
            yield from _inputs(key, value[key], field_hints(cls)[key])


def _class_of(value: Any) -> type | None:
    """The option class of a keyed value; None if it is no option."""
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        return None
    try:
        found = _named(value["type"])
    except (ImportError, AttributeError, ValueError):
        return None
    return found if has_fields(found) else None


def _without_types(value: Any) -> Any:
    """A keyed value without the names of option classes in it."""
    if isinstance(value, Mapping):
        cls = _class_of(value)
        return {key: _without_types(part) for key, part in value.items() if cls is None or not _is_type(key, cls)}
    return [_without_types(part) for part in value] if isinstance(value, list) else value


def _is_type(key: str, cls: type) -> bool:
    return key == "type" and key not in field_hints(cls)


def _keyed(value: Any) -> Iterator[tuple[str, Collection[str]]]:
    """Yield the names of the option classes in a keyed value, each with the fields that a value of it has."""
    if isinstance(value, Mapping):
        if cls := _class_of(value):
            yield cls.__name__, keyed_fields(cls)
        for part in value.values():
            yield from _keyed(part)
    elif isinstance(value, list):
        for part in value:
            yield from _keyed(part)


def _schema(cls: Any, fields: Collection[str], keyed: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """The JSON schema of an option class with these fields alone; ``keyed`` are those of the classes in it."""
    try:
        schema = TypeAdapter(cls).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError):
        return {"title": cls.__name__, "type": "object"}  # it has a field of a type that JSON does not know
    parts = {name: _with(part, keyed.get(name)) for name, part in schema.pop("$defs", {}).items()}
    return {**_with(schema, fields), **({"$defs": parts} if parts else {})}


def _with(schema: Mapping[str, Any], fields: Collection[str] | None) -> dict[str, Any]:
    """A JSON schema with these properties alone, if they are known, and without secrets."""
    if "properties" not in schema:
        return {**schema}
    kept = {
        name: rule
        for name, rule in schema["properties"].items()
        if not _is_secret(rule) and (fields is None or name in fields)
    }
    return {**schema, "properties": kept, "required": [name for name in schema.get("required", ()) if name in kept]}


def _is_secret(rule: Mapping[str, Any]) -> bool:
    return any(part.get("format") == "password" for part in (rule, *rule.get("anyOf", ())))


def _kind(hint: Any) -> str:
    """The kind of a parameter that is no option; what Flyte has no type for is a text, as JSON."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = {_kind(part) for part in get_args(hint) if part is not NoneType}
        optional = "?" if NoneType in get_args(hint) else ""
        return f"{kinds.pop().removesuffix('?') if len(kinds) == 1 else 'str'}{optional}"
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        values = get_args(hint) if get_origin(hint) is Literal else [member.value for member in hint]
        kinds = {_PLAIN.get(type(value), "str") for value in values}
        return kinds.pop() if len(kinds) == 1 else "str"
    return _PLAIN.get(hint, "str") if isinstance(hint, type) else "str"


def _named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
