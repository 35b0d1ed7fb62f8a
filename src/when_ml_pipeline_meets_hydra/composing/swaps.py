"""Finds the options of a composed config that can be swapped for others without composing it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.default_element import ConfigDefault
from omegaconf import DictConfig, OmegaConf

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader, ResultDefault
from when_ml_pipeline_meets_hydra.composing.dependent_defaults import ByChoice, has_interpolations
from when_ml_pipeline_meets_hydra.composing.tree import groups_in


class Swappable(NamedTuple):
    """A chosen option with files and a package of its own."""

    group: str
    name: str
    package: tuple[str, ...]


# Path, header and content of an option file.
_File = tuple[str, Mapping[str, str | None], DictConfig]


class OptionFiles(NamedTuple):
    """The content of an option, merged from its file and those of its group that it includes (``paths``, in order)."""

    paths: tuple[str, ...]
    header: Mapping[str, str | None]
    config: DictConfig


def option_files(loader: Loader, path: str) -> OptionFiles | None:
    """Read an option with what it includes; None where that is more than files of its group, in one package."""
    read = _read_files(loader, path, ())
    if read is None or len({*(file for file, _, _ in read)}) < len(read):
        return None
    paths, headers, configs = zip(*read, strict=True)
    if len(read) == 1:
        return OptionFiles(paths, headers[0], configs[0])
    if any(header != headers[0] or not header.get("package") for header in headers):
        return None
    merged = OmegaConf.create()
    for config in configs:
        merged.merge_with(config)
    return OptionFiles(paths, headers[0], merged)


def _read_files(loader: Loader, path: str, above: tuple[str, ...]) -> list[_File] | None:
    """Read a file and those in its defaults list, in the order in which Hydra merges them."""
    found = loader.read(path) if loader.source_file(path) and path not in above else None
    if found is None or not isinstance(found.config, DictConfig):
        return None
    listed: list[Any] = list(found.defaults_list or ())
    if any(type(d) is not ConfigDefault or d.package or d.optional or "/" in str(d.path) for d in listed):
        return None
    files: list[_File] = []
    own: _File = (path, found.header, found.config)
    for default in listed:
        beside = f"{path.rpartition('/')[0]}/{default.path}"
        below = [own] if default.is_self() else _read_files(loader, beside, (*above, path))
        if below is None:
            return None
        files += below
    return files if any(default.is_self() for default in listed) else [*files, own]


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
    paths = [d.config_path for d in defaults]
    for default, package, _ in places:
        group, _, name = str(default.config_path).rpartition("/")
        option = option_files(loader, str(default.config_path)) if default.override_key else None
        own = [path for path in option.paths if paths.count(path) == 1] if option else []
        others = [p for d, _, at in places if d is not default and d.config_path not in own for p in at]
        if (
            package
            and default.override_key
            and default.override_key.partition("@")[0] == group
            and group not in depended_on
            and option is not None
            and "_name_" not in (option.header.get("package") or "")
            and (len(option.paths) == 1 or "@" not in default.override_key)
            and sum(d.override_key == default.override_key for d in defaults) == 1
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
    one, other = (option_files(loader, f"{option.group}/{n}") for n in (option.name, name))
    return one is not None and other is not None and one.header == other.header
