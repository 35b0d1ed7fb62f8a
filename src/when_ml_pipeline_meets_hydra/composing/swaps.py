"""Which options of a composed config can be exchanged without composing it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader, ResultDefault


class Option(NamedTuple):
    """A chosen option that lies in a file of its own and lands at a place of its own."""

    group: str
    name: str
    package: tuple[str, ...]


def exchangeable(loader: Loader, defaults: Sequence[ResultDefault]) -> Iterator[tuple[str, Option]]:
    """The chosen options that touch nothing but a place of their own, which nothing else touches."""
    read = {d.config_path: loader.read(str(d.config_path)) for d in defaults}
    if any("${" in str(vars(entry)) for r in read.values() if r for entry in r.defaults_list or ()):
        return  # which options there are may depend on others
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
            and option is not None
            and isinstance(option.config, DictConfig)
            and not option.defaults_list
            and "_name_" not in (option.header.get("package") or "")
            and sum(d.override_key == default.override_key for d in defaults) == 1
            and loader.source_file(str(default.config_path))
            and not any(p[: len(package)] == package or package[: len(p)] == p for p in others)
        ):
            yield default.override_key, Option(group, name, package)


def node_at(cfg: DictConfig, place: Sequence[str]) -> Any:
    """The node below the keys of ``place``."""
    node: Any = cfg
    for part in place:
        node = node._get_node(part)
    return node


def is_like(loader: Loader, known: Option, name: str) -> bool:
    """Whether another option of the group differs from the ``known`` one in its content only."""
    if name == known.name:
        return True
    if loader.source_file(f"{known.group}/{name}") is None:
        return False
    one, other = loader.read(f"{known.group}/{known.name}"), loader.read(f"{known.group}/{name}")
    return (
        one is not None
        and other is not None
        and isinstance(other.config, DictConfig)
        and not other.defaults_list
        and one.header == other.header
    )
