"""Names and texts of entries: an entry is an option file, named by its group and option (``customer/acme``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.composing import limits
from when_ml_pipeline_meets_hydra.composing.checkouts import ENTRY_NAME
from when_ml_pipeline_meets_hydra.composing.tree import load_yaml, package_of
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import is_secret_name, is_url_with_password
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

_LONGEST_NAME = 400


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The published text of an option file, and the revision that it is from."""

    path: str
    text: str
    revision: int

    @property
    def group(self) -> str:
        """The group, which is empty for a file outside of any."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The name of the option."""
        return self.path.rpartition("/")[2]


def checked_path(path: str) -> str:
    """Return the name of an entry. Raises ``BadInput`` if it is none."""
    path = path.removesuffix(".yaml")
    if not ENTRY_NAME.fullmatch(path) or len(path) > _LONGEST_NAME:
        message = "expected GROUP/NAME in letters, digits, _, - and ., such as customer/acme"
        if path.startswith("hydra/"):
            message = "options of Hydra's own stay in files, since they name code"
        raise BadInput(Problem(key="entry", value=path[:_LONGEST_NAME], message=message))
    return path


def normalized(text: str) -> str:
    """Return a text with Unix line ends, one at its end, and without a byte order mark."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return lines if lines.endswith("\n") or not lines else f"{lines}\n"


def checked_text(path: str, text: str) -> str:
    """Return the normalized text of an entry. Raises ``BadInput`` if it is no option file, or has a secret."""
    text = normalized(text)
    if wrong := [*malformed(path, text)] or [*secrets_in(path, text)]:
        raise BadInput(*wrong)
    return text


def malformed(path: str, text: str) -> Iterator[Problem]:
    """Yield the problem of a text that is no option file."""
    try:
        if len(text.encode()) > limits.MOST_BYTES:
            raise ValueError(f"it has more than {limits.MOST_BYTES} bytes")
        content = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeEncodeError) as error:
        mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        place = f"line {mark.line + 1}" if mark else None
        yield Problem(key=path, message=f"it cannot be read: {(reason.splitlines() or [''])[0]}", origin=place)
        return
    for key, line in _repeated(_root(text)):
        yield Problem(key=path, message=f"it sets {key} twice", origin=f"line {line}", remedy="Leave one of them out")
    if content is not None and not isinstance(content, dict):
        yield Problem(key=path, message="expected keys with their values", remedy="Write key: value in each line")


def secrets_in(path: str, text: str, typed: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """Yield a problem for each secret in a text; ``typed`` are keys that are secret by their types."""
    content = load_yaml(text)
    package = package_of(text) or path.rpartition("/")[0].replace("/", ".")
    package = "" if package == "_global_" else package
    for key, line, value in leaves(content, text):
        full = f"{package}.{key}" if package else key
        is_secret = is_secret_name(full) or any(full == t or full.startswith(f"{t}.") for t in typed)
        if value in (None, "", "???") or (is_secret and isinstance(value, str) and value.startswith("${")):
            continue
        if is_secret or (isinstance(value, str) and is_url_with_password(value)):
            name = re.sub(r"\W", "_", full).upper()
            remedy = f"Write ${{oc.env:{name}}} in its place, and set ${name} where the pipeline runs"
            place = f"config store: {path}, line {line}"
            yield Problem(key=full, message="a secret is never kept in a config store", origin=place, remedy=remedy)


def leaves(content: Any, text: str = "", key: str = "") -> Iterator[tuple[str, int, Any]]:
    """Yield the key, line and value of each value of a config."""
    lines = _lines(text) if text else {}
    for name, value in _values(content, key):
        yield name, lines.get(name, 1), value


def _values(content: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list) and any(isinstance(item, dict | list) for item in content):
        for number, item in enumerate(content):
            yield from _values(item, f"{key}[{number}]")
    elif key:
        yield key, content


def _lines(text: str) -> dict[str, int]:
    """The line of each key."""
    found: dict[str, int] = {}

    def walk(node: Any, key: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                below = f"{key}.{name.value}" if key else str(name.value)
                found[below] = name.start_mark.line + 1
                walk(value, below)
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                walk(item, f"{key}[{number}]")

    walk(_root(text), "")
    return found


def _root(text: str) -> Any:
    """The YAML nodes of a text."""
    return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _repeated(node: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Yield each key that a mapping has twice, which Hydra does not read, with its line."""
    seen = set()
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        full = f"{key}.{name.value}" if key else str(name.value)
        if name.value in seen:
            yield full, name.start_mark.line + 1
        seen.add(name.value)
        yield from _repeated(value, full)
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        yield from _repeated(item, key)


def included(path: str, text: str) -> set[str]:
    """The paths of option files that an entry's defaults list names, wherever these are: ``customer/default``."""
    content = load_yaml(text)
    listed = content.get("defaults") if isinstance(content, dict) else None
    found = set()
    group = path.rpartition("/")[0]
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, str) and item != "_self_":
            found.add(_resolved(item.partition("@")[0], group))
        for name, options in item.items() if isinstance(item, dict) else ():
            named = re.sub(r"^(?:(?:override|optional) +)*", "", str(name)).partition("@")[0]
            for option in options if isinstance(options, list) else [options]:
                found.add(f"{_resolved(named, group)}/{option}")
    return found


def _resolved(path: str, group: str) -> str:
    if path.startswith("/"):
        return path[1:]
    return f"{group}/{path}" if group else path
