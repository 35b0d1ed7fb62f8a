"""Finds the options of a composed config that can be swapped for others without composing it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader, ResultDefault
from when_ml_pipeline_meets_hydra.composing.dependent_defaults import ByChoice, has_interpolations
from when_ml_pipeline_meets_hydra.composing.tree import groups_in


class Swappable(NamedTuple):
    """A chosen option with a file and a package of its own."""

    group: str
    name: str
    package: tuple[str, ...]


def swappable(loader: Loader, defaults: Sequence[ResultDefault]) -> Iterator[tuple[str, Swappable]]:
    """The chosen options that set only keys of their own package, which no other option sets."""
    read = {d.config_path: loader.read(str(d.config_path)) for d in defaults}
    entries = [entry for r in read.values() if r for entry in r.defaults_list or ()]
    depended_on = {g for entry in entries if isinstance(entry, ByChoice) for g in groups_in(str(entry.path))}
    if has_interpolations(entries):
        return  # the choice of any option may depend on another
    places = []
    for default in defaults:
        content: Any = found.config if (found := read[default.config_path]) else {}
        inside = [str(k) for k in content] if isinstance(content, DictConfig) else []
        package = tuple((default.package or "").split(".")) if default.package else ()
        places.append((default, package, [package] if package else [(k,) for k in inside]))
    for default, package, _ in places:
        group, _, name = str(default.config_path).rpartition("/")
        option = read[default.config_path]
        others = [p for d, _, at in places if d is not default for p in at]
        if (
            package
            and default.override_key
            and default.override_key.partition("@")[0] == group
            and group not in depended_on
            and option is not None
            and isinstance(option.config, DictConfig)
            and not option.defaults_list
            and "_name_" not in (option.header.get("package") or "")
            and sum(d.override_key == default.override_key for d in defaults) == 1
            and loader.source_file(str(default.config_path))
            and not any(p[: len(package)] == package or package[: len(p)] == p for p in others)
        ):
            yield default.override_key, Swappable(group, name, package)


def node_at(cfg: DictConfig, keys: Sequence[str]) -> Any:
    """The node at nested ``keys``."""
    node: Any = cfg
    for key in keys:
        node = node._get_node(key)
    return node


def can_swap(loader: Loader, option: Swappable, name: str) -> bool:
    """Whether the option called ``name`` differs from ``option``, of the same group, in its content only."""
    if name == option.name:
        return True
    if loader.source_file(f"{option.group}/{name}") is None:
        return False
    one, other = loader.read(f"{option.group}/{option.name}"), loader.read(f"{option.group}/{name}")
    return (
        one is not None
        and other is not None
        and isinstance(other.config, DictConfig)
        and not other.defaults_list
        and one.header == other.header
    )
