"""Two things that Hydra and OmegaConf do while composing, in less time and with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import yaml
from hydra._internal import defaults_list
from omegaconf import OmegaConf, _utils

_ORIGINAL: Any = getattr(_utils, "get_yaml_loader", None)  # OmegaConf 2.4 has another one, which counts nodes


def only_where_needed() -> None:
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
