"""Some things that Hydra and OmegaConf do while composing, in less time and with the same result."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache, wraps
from importlib import import_module
from typing import Any

import yaml
from hydra._internal import defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType, ValueType
from omegaconf import OmegaConf, _utils, base

_ORIGINAL: Any = getattr(_utils, "get_yaml_loader", None)  # OmegaConf 2.4 has another one, which counts nodes

_SIGNS = {"": OverrideType.CHANGE, "+": OverrideType.ADD, "++": OverrideType.FORCE_ADD}
_WORD = r"(?!(?:true|false|null|nan|inf)\b)[a-z_]\w*"
_PLAIN = re.compile(
    rf"(\+{{0,2}})([a-z_]\w*(?:(?:/[a-z_]\w*)+|(?:\.[a-z_]\w*)+)?)=({_WORD}(?:,{_WORD})*)", re.ASCII | re.IGNORECASE
)


class Defaults(list[Any]):
    """A defaults list that is copied from its pickle, which is quicker than a copy of its parts."""

    def __deepcopy__(self, memo: Any) -> list[Any]:
        copy: list[Any] = pickle.loads(pickle.dumps(list(self), pickle.HIGHEST_PROTOCOL))
        return copy


def plain_override(line: str) -> Override | None:
    """What Hydra's grammar says of ``key=word`` and ``key=word,word``; None where a line is of another form."""
    found = _PLAIN.fullmatch(line)
    if not found:
        return None
    words: list[Any] = found[3].split(",")
    several = len(words) > 1
    return Override(
        type=_SIGNS[found[1]],
        key_or_group=found[2],
        value_type=ValueType.SIMPLE_CHOICE_SWEEP if several else ValueType.ELEMENT,
        _value=ChoiceSweep(list=words, simple_form=True) if several else words[0],
        input_line=line,
    )


def install() -> None:
    """Make what follows quicker: parsing overrides and interpolations, and going through defaults lists."""
    _grammar_only_where_needed()
    _map_only_where_needed()
    _each_interpolation_parsed_once()


def _each_interpolation_parsed_once() -> None:
    """Keep the trees of texts with interpolations; nobody changes a tree."""
    for module in (base, _utils):
        original: Any = getattr(module, "parse", None)
        if original is not None and not hasattr(original, "__wrapped__"):
            module.parse = lru_cache(maxsize=1024)(original)  # type: ignore[attr-defined]


@contextmanager
def parents_left_alone() -> Iterator[None]:
    """Within it, a merge does not set the parent of every node in the whole config; its user does so at the end."""
    original = base.Box._re_parent
    base.Box._re_parent = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        base.Box._re_parent = original  # type: ignore[method-assign]


def _grammar_only_where_needed() -> None:
    """Leave to Hydra's parser, which takes milliseconds for a line, what is not of the plainest form."""
    parser: Any = OverridesParser
    original = parser.parse_rule
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def parse_rule(self: Any, s: str, rule_name: str) -> Any:
        return (plain_override(s) if rule_name == "override" else None) or original(self, s, rule_name)

    parser.parse_rule = parse_rule


def _map_only_where_needed() -> None:
    """Make the map for interpolations in a defaults list only where there is one, not for each option of the tree."""
    module: Any = defaults_list
    original = getattr(module, "_create_interpolation_map", None)
    if original is None or getattr(original, "is_quicker", False):  # Hydra 1.4 makes it only where it is needed
        return

    def create(overrides: Any, listed: list[Any], self_added: bool) -> Any:
        needed = any(entry.is_interpolation() for entry in listed)
        return original(overrides, listed, self_added) if needed else OmegaConf.create()

    create.is_quicker = True  # type: ignore[attr-defined]
    module._create_interpolation_map = create


@contextmanager
def yaml_in_c() -> Iterator[None]:
    """Within it, OmegaConf 2.3 reads YAML by the parser in C, if there is one."""
    if _ORIGINAL is None:
        yield
        return
    _utils.get_yaml_loader = _loader
    try:
        yield
    finally:
        _utils.get_yaml_loader = _ORIGINAL


@cache
def _loader() -> Any:
    """OmegaConf's loader with another scanner and parser."""
    theirs: Any = _ORIGINAL()
    if not yaml.__with_libyaml__:
        return theirs
    parser: Any = import_module("yaml.cyaml").CParser

    class Loader(parser, theirs):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            parser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    return Loader
