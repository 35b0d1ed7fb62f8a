"""Edits single keys in the text of an option file, and leaves every other byte as it is, comments too."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml, load_yaml
from when_ml_pipeline_meets_hydra.errors import first_line

_MISSING = object()
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotEditable(ValueError):
    """A text cannot be edited key by key; the message says why."""


def content_of(text: str) -> dict[str, Any]:
    """The content of a text as Hydra reads it: ``1e-3`` is a number, ``2024-05-01`` a text. Raises ``NotEditable``."""
    from when_ml_pipeline_meets_hydra.composing.hydra_config import read_text

    try:
        found = read_text(text)
    except ValueError as error:
        raise NotEditable(f"it cannot be read: {first_line(error)}") from error
    return found if isinstance(found, dict) else {}


def value_at(content: Any, key: Sequence[str]) -> Any:
    """The value of a key in a config. Raises ``KeyError``."""
    for part in key:
        if not isinstance(content, Mapping) or part not in content:
            raise KeyError(".".join(key))
        content = content[part]
    return content


def has_key(text: str, key: Sequence[str]) -> bool:
    """Whether a text sets a key."""
    try:
        value_at(load_yaml(text), key)
    except KeyError:
        return False
    return True


def set_key(text: str, key: Sequence[str], value: str) -> str:
    """Return the text with a key set to a value in YAML; a new key is the last one of its mapping."""
    try:
        load_yaml(value)
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or first_line(error)
        raise NotEditable(f"the value of {'.'.join(key)} is no YAML: {reason}") from error
    return _checked(text, lambda: _set(text, key, value), lambda c: _with(c, key, load_yaml(value)))


def delete_key(text: str, key: Sequence[str]) -> str:
    """Return the text without a key, and without mappings that would have none left."""
    return _checked(text, lambda: _delete(text, key), lambda c: _without(c, key))


def rename_key(text: str, key: Sequence[str], name: str) -> str:
    """Return the text with another name for a key, at its place."""

    def renamed(content: Any) -> Any:
        parent = value_at(content, key[:-1])
        pairs = [(name if k == key[-1] else k, v) for k, v in parent.items()]
        parent.clear()
        parent.update(pairs)
        return content

    def edited() -> str:
        node = _pair(text, key)[0]
        return _replaced(text, node.start_mark.index, node.end_mark.index, name)

    return _checked(text, edited, renamed)


def move_key(text: str, key: Sequence[str], new: Sequence[str]) -> str:
    """Return the text with the value of a key under another one."""
    if key[:-1] == new[:-1]:
        return rename_key(text, key, new[-1])
    value = value_at(content_of(text), key)
    return set_key(delete_key(text, key), new, one_line(value))


def one_line(value: Any) -> str:
    """Return a value in one line of YAML."""
    return dump_yaml(value, 10**6, flow=True).removesuffix("...\n").strip()


def changed(text: str, after: Mapping[str, Any]) -> str:
    """Return the text with the content ``after``: only the keys that differ are edited."""
    before = content_of(text)
    for key, value in _differing(before, after, ()):
        text = delete_key(text, key) if value is _MISSING else set_key(text, key, one_line(value))
    return text


def _differing(before: Any, after: Any, key: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before and after:
        found = [((*key, k), _MISSING) for k in before if k not in after]
        for name, value in after.items():
            found += _differing(before.get(name, _MISSING), value, (*key, name))
        return found
    return [] if type(before) is type(after) and before == after else [(key, after)]


def _checked(text: str, edit: Callable[[], str], expected: Callable[[Any], Any]) -> str:
    """The edited text, if its content is the expected one. Raises ``NotEditable``."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_SAFE)):
        raise NotEditable("it repeats values by an alias (*name)")
    wanted = expected(copy.deepcopy(load_yaml(text) or {}))
    edited = edit()
    try:
        is_right = repr(load_yaml(edited) or {}) == repr(wanted or {})
    except yaml.YAMLError:
        is_right = False
    if not is_right:
        raise NotEditable("its form is too unusual to be edited key by key")
    return edited


def _set(text: str, key: Sequence[str], value: str) -> str:
    if has_key(text, key):
        name, old = _pair(text, key)
        if isinstance(old, yaml.CollectionNode) and not old.flow_style:
            line = _line_start(text, name.start_mark.index)
            indent = text[line : name.start_mark.index]
            return _replaced(text, line, _end(text, old), f"{indent}{name.value}: {value}")
        separator = "" if text[old.start_mark.index - 1 : old.start_mark.index].isspace() else " "
        return _replaced(text, old.start_mark.index, _end(text, old), f"{separator}{value}")
    depth = max(n for n in range(len(key)) if n == 0 or has_key(text, key[:n]))
    root = yaml.compose(text, Loader=_SAFE)
    parent = _pair(text, key[:depth])[1] if depth else root
    if parent is None or (depth == 0 and isinstance(parent, yaml.ScalarNode)):
        body = text if text.endswith("\n") or not text else f"{text}\n"
        return body + _nested(key, value, 0)
    if not isinstance(parent, yaml.MappingNode):
        raise NotEditable(f"{'.'.join(key[:depth])} is no mapping there")
    if parent.flow_style:
        return _into_braces(text, parent, key[depth:], value)
    column = parent.value[0][0].start_mark.column
    end = _line_end(text, _end(text, parent.value[-1][1], parent.value[-1][0]))
    before = text[:end] if text[:end].endswith("\n") else f"{text[:end]}\n"
    return before + _nested(key[depth:], value, column) + text[end:]


def _into_braces(text: str, parent: Any, key: Sequence[str], value: str) -> str:
    place = parent.end_mark.index - 1
    inner = value
    for name in reversed(key[1:]):
        inner = f"{{{name}: {inner}}}"
    return _replaced(text, place, place, f"{', ' if parent.value else ''}{key[0]}: {inner}")


def _nested(key: Sequence[str], value: str, column: int) -> str:
    """The lines of a new key: mappings in block form, with the value at the end."""
    *outer, last = key
    lines = [f"{' ' * (column + 2 * n)}{name}:" for n, name in enumerate(outer)]
    indent = " " * (column + 2 * len(outer))
    content = load_yaml(value)
    if isinstance(content, dict) and content:
        block = dump_yaml({last: content}).splitlines()
        return "\n".join([*lines, *(f"{indent}{line}" for line in block)]) + "\n"
    return "\n".join([*lines, f"{indent}{last}: {value}"]) + "\n"


def _delete(text: str, key: Sequence[str]) -> str:
    while len(key) > 1 and len(_pair(text, key[:-1])[1].value) == 1:
        key = key[:-1]
    name, value = _pair(text, key)
    parent: Any = _pair(text, key[:-1])[1] if len(key) > 1 else yaml.compose(text, Loader=_SAFE)
    start, end = name.start_mark.index, _end(text, value, name)
    if not parent.flow_style:
        return _replaced(text, _line_start(text, start), _line_end(text, end), "")
    after = re.compile(r"\s*,\s*").match(text, end)
    if after:
        return _replaced(text, start, after.end(), "")
    before = re.search(r"\s*,\s*$", text[:start])
    return _replaced(text, before.start() if before else start, end, "")


def _pair(text: str, key: Sequence[str]) -> tuple[Any, Any]:
    """The nodes of a key and of its value. Raises ``KeyError``."""
    node, name = yaml.compose(text, Loader=_SAFE), None
    for part in key:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found = [(k, v) for k, v in pairs if k.value == part]
        if not found:
            raise KeyError(".".join(key))
        name, node = found[-1]
    return name, node


def _end(text: str, node: Any, name: Any = None) -> int:
    """The index behind the last character of a value, without the blanks and comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1], last[0]) if isinstance(last, tuple) else _end(text, last)
    end = int(node.end_mark.index)
    if name is not None and node.start_mark.index == end:  # no value at all: "key:"
        return int(name.end_mark.index) + 1
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return len(text[:end].rstrip())
    return end


def _replaced(text: str, start: int, end: int, new: str) -> str:
    return f"{text[:start]}{new}{text[end:]}"


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """The index behind the end of a line."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _with(content: Any, key: Sequence[str], value: Any) -> Any:
    inner = content
    for part in key[:-1]:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise NotEditable(f"{part} is no mapping there")
    inner[key[-1]] = value
    return content


def _without(content: Any, key: Sequence[str]) -> Any:
    for depth in range(len(key) - 1, -1, -1):
        parent = value_at(content, key[:depth])
        del parent[key[depth]]
        if parent:
            break
    return content
