"""Validate config values with pydantic, and convert its errors into problems with config keys and origins."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from when_ml_pipeline_meets_hydra.binding.keys import has_fields, is_plain_class, is_secret, option_hints, plain_hints
from when_ml_pipeline_meets_hydra.binding.local_paths import local_paths
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.masking import MASK, is_secret_name

OriginOf = Callable[[str], str | None]
Reread = Callable[[str, Any, str], Any]


@lru_cache(maxsize=1024)
def adapter(hint: Any) -> TypeAdapter[Any]:
    """Return pydantic's validator for an annotation; that of a plain class creates an instance of it."""
    return TypeAdapter(_constructor(hint)) if is_plain_class(hint) else TypeAdapter(hint)


def _constructor(cls: type) -> Any:
    """Return a function with the parameters of a class, which pydantic checks."""

    def create(*args: Any, **named: Any) -> Any:
        return cls(*args, **named)

    create.__signature__ = inspect.signature(cls)  # type: ignore[attr-defined]
    create.__annotations__ = plain_hints(cls)
    return create


def validate(
    hint: Any,
    data: Any,
    *,
    key: str,
    origin: OriginOf,
    chosen: Mapping[str, Any] | None = None,
    reread: Reread = lambda key, value, error: value,
) -> Any:
    """Return ``data`` (plain values) as an instance of ``hint``; strict, so that ``"5"`` and ``true`` are no numbers.

    ``chosen`` are the values of the fields marked ``Chosen`` or ``Several``; ``reread(key, value, error)`` may return
    another reading of a value of the wrong type. Raises ``BadInput`` with all problems.
    """
    if inspect.isabstract(hint):
        raise BadInput(_no_target(hint, key, origin))
    wrong_paths: list[Problem] = []
    data = local_paths(hint, data, key, wrong_paths)
    problems = [replace(p, origin=origin(p.key)) for p in wrong_paths]
    try:
        data = {**dict.fromkeys(chosen), **data} if chosen and isinstance(data, dict) else data
        try:
            value = adapter(hint).validate_json(json.dumps(data), strict=True, context=chosen)
        except ValidationError as error:
            data = _reread(error, data, key, reread)
            value = adapter(hint).validate_json(json.dumps(data), strict=True, context=chosen)
    except ValidationError as error:
        raise BadInput(*problems, *dict.fromkeys(_problems(error, hint, data, key, origin))) from None
    except (PydanticSchemaGenerationError, PydanticUserError, NameError):
        raise BadInput(_no_target(hint, key, origin)) from None
    if problems:
        raise BadInput(*problems)
    return value


def _reread(error: ValidationError, data: Any, key: str, reread: Reread) -> Any:
    """Return a copy of ``data`` in which values of the wrong type are read again."""
    for found in error.errors(include_url=False, include_context=False):
        data = _replaced(data, _location(found, data), key, found["type"], reread)
    return data


def _replaced(data: Any, loc: list[int | str], key: str, error: str, reread: Reread) -> Any:
    if not loc:
        return reread(key, data, error)
    part, *rest = loc
    copy = [*data] if isinstance(data, list) else {**data} if isinstance(data, dict) else None
    if copy is None or (isinstance(copy, dict) and part not in copy):
        return data
    inner = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}"
    copy[part] = _replaced(copy[part], rest, inner, error, reread)  # type: ignore[index]
    return copy


def _no_target(hint: Any, key: str, origin: OriginOf) -> Problem:
    name = getattr(hint, "__name__", hint)
    if inspect.isabstract(hint) or getattr(hint, "_is_protocol", False):
        message = f"a {name} is needed, but the chosen option names no _target_"
        remedy = "Choose another option of its group (see --help), or add a _target_ to the option's file"
    else:
        message, remedy = f"{name} is no type that values can be checked against", "Make it a @frozen class"
    return Problem(key=key, message=message, origin=origin(f"{key}._target_") or origin(key), remedy=remedy)


def _problems(error: ValidationError, hint: Any, data: Any, key: str, origin: OriginOf) -> Iterator[Problem]:
    for found in error.errors(include_url=False):
        loc = _location(found, data)
        path = key + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc)
        field = field_schema(hint, loc)
        inner = tuple(secret_keys(hint, key))
        secret = is_secret_name(path) or field.get("format") == "password" or any(_below(s, path) for s in inner)
        kind, message = found["type"], _message(found, field)
        is_quoted = _is_quoted(found)
        properties = field.get("properties", ())
        named = [name for name in properties if kind == "value_error" and re.search(rf"\b{name}\b", message)]
        yield Problem(
            key=path,
            value=None if kind in _UNKNOWN else _shown(found, secret=secret),
            message=f"{message}, and this is a text" if is_quoted else message,
            origin=" and ".join(_named(named if len(named) > 1 else (), path, origin))
            or _origin(found["input"], properties, path, origin, shows_value=kind not in _UNKNOWN),
            remedy="Write it without quotes" if is_quoted else _remedy(kind, hint, loc, key),
        )


def _location(found: Mapping[str, Any], data: Any) -> list[int | str]:
    """Return the location of an error in ``data``; that of pydantic also contains the alternatives of a union."""
    place: list[int | str] = []
    for part in found["loc"]:
        if part in (data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()):
            data = data[part]
        elif not (found["type"].startswith("missing") and part == found["loc"][-1]):
            continue
        place.append(part)
    return place


def _origin(value: Any, fields: Iterable[str], key: str, origin: OriginOf, *, shows_value: bool) -> str | None:
    """Return the origin of a value; for a whole option, the overrides of its keys, if there are any.

    Without ``shows_value``, the values of the overrides are left out.
    """
    inner = (o for name in fields for o in _overrides(None, f"{key}.{name}", origin))
    found = dict.fromkeys([*_overrides(value, key, origin), *inner])
    return " and ".join(o if shows_value else o.partition("=")[0] for o in found) or origin(key)


def _named(fields: Iterable[str], key: str, origin: OriginOf) -> dict[str, None]:
    """Return the origins of the fields that a message names."""
    return dict.fromkeys(found for name in fields if (found := origin(f"{key}.{name}")))


def _overrides(value: Any, key: str, origin: OriginOf) -> Iterator[str]:
    """Yield the overrides of a value or of keys inside it."""
    if (found := origin(key) or "").startswith("the override"):
        yield found
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from _overrides(inner, f"{key}.{name}", origin)


def _below(secret: str, path: str) -> bool:
    return secret.startswith(f"{path}.") or path.startswith(f"{secret}.")


# The value of a misspelt key is not shown: it may be a secret.
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def _shown(found: Mapping[str, Any], *, secret: bool) -> str | None:
    value = found["input"]
    if found["type"].startswith("missing") or isinstance(value, dict):
        return None
    if secret:
        return MASK
    return f"'{value}'" if _is_quoted(found) else value if isinstance(value, str) else json.dumps(value, default=str)


def _is_quoted(found: Mapping[str, Any]) -> bool:
    """Whether a text has the wrong type only because it is one: ``'10'``."""
    return (
        isinstance(found["input"], str)
        and re.fullmatch(_WRITTEN.get(found["type"], "(?!)"), found["input"]) is not None
    )


_WRITTEN = {
    "int_type": r"[-+]?\d+",
    "float_type": r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?",
    "bool_type": "true|false",
}


def _message(found: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    kind = found["type"]
    if kind in _UNKNOWN:
        return "there is no such key"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"a value is needed ({allowed(field)})"
    if kind in ("value_error", "assertion_error"):
        return str(found["ctx"]["error"]) or "refused"
    return f"expected {allowed(field)}" if field else str(found["msg"])


def _remedy(kind: str, hint: Any, loc: list[int | str], key: str) -> str | None:
    if kind in _UNKNOWN and loc:
        names = [*field_schema(hint, loc[:-1]).get("properties", ())]
        place = ".".join([key, *map(str, loc[:-1])])
        return did_you_mean(f"{place}.{loc[-1]}", [f"{place}.{name}" for name in names])
    if kind.startswith("missing") and loc:
        return f"Give it: {key}.{'.'.join(map(str, loc))}=…"
    return None


@lru_cache(maxsize=1024)
def schema(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of an annotation; empty if it has none."""
    try:
        return adapter(hint).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError):
        return {}


def field_schema(hint: Any, loc: list[int | str]) -> dict[str, Any]:
    """Return the JSON schema of the field at ``loc``, with references resolved."""
    whole = schema(hint)
    node = _follow(whole, whole)
    for part in loc:
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        node = _follow(node, whole)
    return node


def _follow(node: dict[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target = whole["$defs"][node["$ref"].rpartition("/")[2]]
        node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    if "anyOf" in node:
        node = {**node, "anyOf": [_follow(n, whole) for n in node["anyOf"]]}
    return node


_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of keys",
    "null": "null",
}


def allowed(field: Mapping[str, Any]) -> str:
    """Return the allowed values of a field as text: ``a number, 0 < x < 1``; ``one of huber, quantile``."""
    if options := field.get("enum"):
        return "one of " + ", ".join(map(str, options))
    if "const" in field:
        return str(field["const"])
    if alternatives := field.get("anyOf"):
        return " or ".join(dict.fromkeys(allowed(a) for a in alternatives))
    name = {"path": "a path", "uri": "a URL", "date": "a date"}.get(field.get("format", "")) or _NAMES.get(
        str(field.get("type")), "a value"
    )
    return name + _range(field)


def _range(field: Mapping[str, Any]) -> str:
    lows, highs = (("exclusiveMinimum", "<"), ("minimum", "≤")), (("exclusiveMaximum", "<"), ("maximum", "≤"))
    low = next((f"{_bound(field[k])} {sign} " for k, sign in lows if k in field), "")
    high = next((f" {sign} {_bound(field[k])}" for k, sign in highs if k in field), "")
    if low and not high:
        return f", {'at least' if 'minimum' in field else 'more than'} {low.split()[0]}"
    if low or high:
        return f", {low}x{high}"
    if field.get("minLength") == field.get("maxLength") == 1:
        return " of one character"
    if least := field.get("minLength") or field.get("minItems"):
        return (
            ", not empty" if least == 1 else f", at least {least} {'characters' if 'minLength' in field else 'items'}"
        )
    if "pattern" in field:
        return f" like {field['pattern']}"
    return ""


def _bound(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def secret_keys(hint: Any, key: str, data: Any = None) -> Iterator[str]:
    """Yield the config keys at or below ``key`` whose type is secret.

    Unknown keys in ``data`` of an option with secrets are included: they may be misspelt secrets.
    """
    values = data if isinstance(data, dict) else {}
    if is_secret(hint):
        yield key
    elif hints := option_hints(hint):
        found = [k for name, inner in hints.items() for k in secret_keys(inner, f"{key}.{name}", values.get(name))]
        yield from found
        yield from (f"{key}.{name}" for name in values if found and name not in hints and name != "_target_")
    elif get_origin(hint) is not None:
        inside = [h for h in get_args(hint) if has_fields(h) or get_origin(h) is not None]
        for place, value in _members(hint, key, data):
            yield from (k for h in inside for k in secret_keys(h, place, value))


def _members(hint: Any, key: str, data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values inside a container, each with its key; otherwise the value itself."""
    kind = get_origin(hint)
    if isinstance(data, dict) and inspect.isclass(kind) and issubclass(kind, Mapping):
        yield from ((f"{key}.{name}", value) for name, value in data.items())
    else:
        yield from ((key, value) for value in (data if isinstance(data, list) else [data]))
