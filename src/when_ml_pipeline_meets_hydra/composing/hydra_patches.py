"""Patches of Hydra and OmegaConf: composing is faster and bounded, ranges are exact, a byte order mark is no header."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache, lru_cache, wraps
from importlib import import_module
from typing import Any

import yaml
from hydra._internal import defaults_list
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.override_parser import types
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType, ValueType
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf, _utils, base

from when_ml_pipeline_meets_hydra.composing.limits import MOST_FILES
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

_ORIGINAL: Any = getattr(_utils, "get_yaml_loader", None)  # not in OmegaConf 2.4, whose loader counts nodes

_SIGNS = {"": OverrideType.CHANGE, "+": OverrideType.ADD, "++": OverrideType.FORCE_ADD}
_WORD = r"(?!(?:true|false|null|nan|inf)\b)[a-z_]\w*"
_PLAIN = re.compile(
    rf"(\+{{0,2}})([a-z_]\w*(?:(?:/[a-z_]\w*)+|(?:\.[a-z_]\w*)+)?)=({_WORD}(?:,{_WORD})*)", re.ASCII | re.IGNORECASE
)


class DefaultsList(list[Any]):
    """A defaults list that is copied by way of its pickle, which is faster than ``deepcopy``."""

    def __deepcopy__(self, memo: Any) -> list[Any]:
        copy: list[Any] = pickle.loads(pickle.dumps(list(self), pickle.HIGHEST_PROTOCOL))
        return copy


def plain_override(line: str) -> Override | None:
    """Parse ``key=word`` and ``key=word,word`` as Hydra's grammar does; None for a line of another form."""
    match = _PLAIN.fullmatch(line)
    if not match:
        return None
    words: list[Any] = match[3].split(",")
    several = len(words) > 1
    return Override(
        type=_SIGNS[match[1]],
        key_or_group=match[2],
        value_type=ValueType.SIMPLE_CHOICE_SWEEP if several else ValueType.ELEMENT,
        _value=ChoiceSweep(list=words, simple_form=True) if several else words[0],
        input_line=line,
    )


def install() -> None:
    """Patch the parsing of overrides, headers and interpolations, and the processing of defaults lists."""
    types.FloatRange.__post_init__ = _exact_range  # type: ignore[method-assign]
    _skip_byte_order_marks()
    _limit_defaults_lists()
    _skip_parser_for_plain_overrides()
    _skip_unneeded_interpolation_maps()
    _cache_parsed_interpolations()


def _limit_defaults_lists() -> None:
    """Have Hydra refuse defaults lists that lead to very many files, also to the same ones again and again."""
    original: Any = CachingConfigRepository.load_config
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def load_config(self: Any, config_path: str) -> Any:
        self.loads = getattr(self, "loads", 0) + 1  # each composition has a repository of its own
        if self.loads > MOST_FILES:
            message = f"the defaults lists lead to more than {MOST_FILES} files, at last to {config_path}"
            raise BadInput(Problem(key="defaults", message=message))
        return original(self, config_path)

    CachingConfigRepository.load_config = load_config  # type: ignore[method-assign]


def _exact_range(self: types.FloatRange) -> None:
    """Take the bounds as they were written, so that ``range(0.1,0.5,0.1)`` has 0.3 and not 0.30000000000000004."""
    self.start, self.stop, self.step = (Decimal(str(number)) for number in (self.start, self.stop, self.step))


def _skip_byte_order_marks() -> None:
    """Find the package header of a file that an editor saved with a byte order mark."""
    source: Any = ConfigSource
    original = source._get_header_dict
    if not hasattr(original, "__wrapped__"):
        skips = wraps(original)(lambda text: original(text.removeprefix("\ufeff")))
        source._get_header_dict = staticmethod(skips)


def _cache_parsed_interpolations() -> None:
    """Cache the parse trees of interpolations, which are never modified."""
    for module in (base, _utils):
        original: Any = getattr(module, "parse", None)
        if original is not None and not hasattr(original, "__wrapped__"):
            module.parse = lru_cache(maxsize=1024)(original)  # type: ignore[attr-defined]


@contextmanager
def without_reparenting() -> Iterator[None]:
    """Within it, merges do not set the parent of each node of the whole config; the caller does so at the end."""
    original = base.Box._re_parent
    base.Box._re_parent = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        base.Box._re_parent = original  # type: ignore[method-assign]


def _skip_parser_for_plain_overrides() -> None:
    """Use Hydra's parser, which takes milliseconds per line, only for overrides that are not plain."""
    parser: Any = OverridesParser
    original = parser.parse_rule
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def parse_rule(self: Any, s: str, rule_name: str) -> Any:
        return (plain_override(s) if rule_name == "override" else None) or original(self, s, rule_name)

    parser.parse_rule = parse_rule


def _skip_unneeded_interpolation_maps() -> None:
    """Create the map for interpolations in a defaults list only if the list has any."""
    module: Any = defaults_list
    original = getattr(module, "_create_interpolation_map", None)
    if original is None or getattr(original, "is_patched", False):  # Hydra 1.4 creates it only if needed
        return

    def create(overrides: Any, listed: list[Any], self_added: bool) -> Any:
        needed = any(entry.is_interpolation() for entry in listed)
        return original(overrides, listed, self_added) if needed else OmegaConf.create()

    create.is_patched = True  # type: ignore[attr-defined]
    module._create_interpolation_map = create


@contextmanager
def libyaml() -> Iterator[None]:
    """Within it, OmegaConf 2.3 parses YAML with libyaml, if that is installed."""
    if _ORIGINAL is None:
        yield
        return
    module: Any = _utils  # OmegaConf 2.4 has no such name
    module.get_yaml_loader = _loader
    try:
        yield
    finally:
        module.get_yaml_loader = _ORIGINAL


@cache
def _loader() -> Any:
    """OmegaConf's loader with libyaml's scanner and parser."""
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
