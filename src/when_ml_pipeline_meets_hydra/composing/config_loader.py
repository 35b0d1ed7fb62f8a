"""Reads option files and composes configs with Hydra's internals (works with Hydra 1.3.8 and 1.4.0rc3)."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing import hydra_patches, interpolations, limits, plugins, resolvers
from when_ml_pipeline_meets_hydra.composing.dependent_defaults import with_choices
from when_ml_pipeline_meets_hydra.composing.hydra_loader import HydraLoader
from when_ml_pipeline_meets_hydra.composing.hydra_patches import DefaultsList, libyaml
from when_ml_pipeline_meets_hydra.composing.origins import written_option
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override, naming_options, parse_with
from when_ml_pipeline_meets_hydra.composing.tree import (
    PRIMARY,
    STAGES,
    Option,
    Stage,
    broken_file,
    by_choice,
    extended,
    folder_of,
    package_of,
    read_stages,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

__all__ = ["CompositionError", "HydraException", "Loader", "ResultDefault"]

CONFIG_NAME = "config"

CompositionError = (HydraException, OmegaConfBaseException)

# Parsed option files: (name, file, its state) → the pickled result, since composing modifies what it is given.
_CACHE: dict[tuple[object, ...], bytes] = {}


class _Repository(ConfigRepository):
    """Reads each file once, and adds every stage's subcommand to the primary config's defaults list.

    So the primary config does not have to list the stages.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.stages: tuple[Stage, ...] = ()
        self._entries: dict[str, tuple[dict[tuple[object, ...], bytes], tuple[object, ...]]] = {}
        self._own_cache: dict[tuple[object, ...], bytes] = {}  # configs that are not files
        self._folders = [(source, folder_of(source.full_path())) for source in self.get_sources()]

    def __deepcopy__(self, memo: Any) -> _Repository:
        return copy.copy(self)  # Hydra copies it for each composition, in case sources change; here they do not

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._entries:
            self._entries[config_path] = self._entry(config_path)
        cache, key = self._entries[config_path]
        if key not in cache:
            try:
                cache[key] = pickle.dumps(self._load(config_path), pickle.HIGHEST_PROTOCOL)
            except RecursionError as error:
                raise BadInput(self._broken(config_path, ValueError("it is nested too deeply"))) from error
        result: ConfigResult | None = pickle.loads(cache[key])
        if result is not None and config_path == CONFIG_NAME:
            subcommands = [GroupDefault(group=s.group, value=s.subcommand) for s in self.stages]
            result.defaults_list = DefaultsList([*subcommands, *(result.defaults_list or ())])
        if result is not None and result.defaults_list is not None:
            result.defaults_list = with_choices(result.defaults_list, self.chosen_file)
        return result

    def chosen_file(self, path: str, chosen: Mapping[str, str]) -> str | None:
        """The file that a path with a group in it stands for; see ``by_choice``."""
        return by_choice(path, chosen, self._extended, self.config_exists)

    def _extended(self, group: str, option: str) -> list[str]:
        read = self.load_config(f"{group}/{option}")
        paths = [str(d.path) for d in (read.defaults_list if read else None) or () if isinstance(d, ConfigDefault)]
        return extended(group, paths)

    def _create_defaults_list(self, config_path: str, defaults: ListConfig) -> list[InputDefault]:
        """Take numbers and truth values for the names of options, as they are written: ``modeling/param: 1e3``."""
        for number, item in enumerate(defaults._iter_ex(resolve=False)):
            for key in item if isinstance(item, DictConfig) else ():
                node: Any = item._get_node(key)
                if isinstance(value := node._value(), bool | int | float):
                    file = self.file_of(config_path)
                    item[key] = (file and written_option(file, number, str(key))) or str(value).lower()
        return super()._create_defaults_list(config_path, defaults)

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        """The options of a group; a file with a leading dot is none."""
        return [o for o in super().get_group_options(group_name, results_filter) if not str(o).startswith(".")]

    def file_of(self, config_path: str) -> Path | None:
        """The file that an option is read from; None where the option is not a file."""
        for source, folder in self._folders:
            if folder and (file := folder / f"{config_path}.yaml").is_file():
                return file
            if not folder and source.is_config(config_path):
                break
        return None

    def _entry(self, config_path: str) -> tuple[dict[tuple[object, ...], bytes], tuple[object, ...]]:
        """The cache for a config, and its key there."""
        file = self.file_of(config_path)
        if file is None:
            return self._own_cache, (config_path,)
        state = file.stat()
        return _CACHE, (config_path, str(file), state.st_ino, state.st_size, state.st_mtime_ns)

    def _load(self, config_path: str) -> ConfigResult | None:
        try:
            if file := self.file_of(config_path):
                limits.check_file(file)
            with libyaml():
                result = super().load_config(config_path)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            raise BadInput(self._broken(config_path, error)) from error
        if result is not None and result.defaults_list is not None:
            result.defaults_list = DefaultsList(result.defaults_list)
        return result

    def _broken(self, config_path: str, error: Exception) -> Problem:
        group, _, name = config_path.rpartition("/")
        return broken_file(f"{group}={name}", self.file_of(config_path) or Path(config_path), error)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """An option file, the package of its keys, and the files in its defaults list, in order."""

    path: str
    package: str
    file: str | None
    imports: tuple[Imported, ...]


def _is_not_a_file(default: Any) -> bool:
    """Whether an entry of a defaults list is ``_self_``, an override or deletion, or one of Hydra's own."""
    if default.is_self() or default.is_override() or default.is_deleted() or default.is_missing():
        return True
    return str(default.get_config_path()).startswith("hydra/")


_IMPORTING = ("pkg", "structured")  # Hydra's config sources that import the package that an entry names


def _is_readable(entry: str) -> bool:
    """Whether an installed plugin has a config source for the scheme of a search path entry."""
    scheme = entry.partition("://")[0]
    try:
        SourcesRegistry.instance().resolve(scheme)
    except ValueError:
        return False
    return scheme not in _IMPORTING


class Loader:
    """Hydra's config loader for the program's own config tree and the user's folders."""

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        resolvers.register()
        hydra_patches.install()
        interpolations.install()
        plugins.load()
        path = create_config_search_path(str(PRIMARY))
        schema = path.get_path().pop()
        self._unreadable = [entry for entry in search_path if folder_of(entry) is None and not _is_readable(entry)]
        for entry in search_path:
            if entry not in self._unreadable:  # pkg:// becomes a folder, since Hydra would import the package
                path.append(provider="user", path=f"file://{folder}" if (folder := folder_of(entry)) else entry)
        path.get_path().append(schema)
        self._groups: dict[str, bool] = {}
        self._options: dict[str, list[str]] = {}
        self._below: dict[str, list[str]] = {}
        self.hydra_loader = HydraLoader(config_search_path=path)
        self.hydra_loader.repository = self._repository = _Repository(config_search_path=path)
        self._repository.stages = self.stages = read_stages(
            self.options(STAGES), lambda name: self.file_content(f"{STAGES}/{name}"), self.options
        )
        self._parser = OverridesParser.create(config_loader=self.hydra_loader)
        self._composed: dict[tuple[str, ...], tuple[bytes, tuple[ResultDefault, ...]]] = {}

    def parse(self, line: str) -> Override:
        """Parse one override; ``glob(…)`` matches the options of a group, whose names are texts: ``param=1``."""
        override = parse_with(self._parser, line)
        return naming_options(override) if self.is_group(override.key_or_group) else override

    def options(self, group: str) -> list[str]:
        """The names of the options of ``group``; empty where there is no such group."""
        if group not in self._options:
            options = self.hydra_loader.repository.get_group_options(group, ObjectType.CONFIG)
            self._options[group] = [str(o) for o in options]
        return self._options[group]

    def is_group(self, name: str) -> bool:
        """Whether the search path has a group called ``name``."""
        if name not in self._groups:
            self._groups[name] = "\0" not in name and self.hydra_loader.repository.group_exists(name)
        return self._groups[name]

    def is_choice(self, override: Override) -> bool:
        """Whether an override chooses an option of a group."""
        return self.is_group(override.key_or_group) and not isinstance(override.value(), dict)

    def groups(self, parent: str = "") -> list[str]:
        """All groups below ``parent``, with their full names."""
        if parent not in self._below:
            found = self._repository.get_group_options(parent, ObjectType.GROUP)
            names = [f"{parent}/{name}" if parent else str(name) for name in found]
            self._below[parent] = [g for name in names for g in (name, *self.groups(name))]
        return self._below[parent]

    def file_content(self, path: str) -> Mapping[str, Any]:
        """The unresolved content of an option file (``c/modeling``)."""
        loaded = self.read(path)
        content = OmegaConf.to_container(loaded.config) if loaded else {}
        return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}

    @property
    def search_path(self) -> tuple[str, ...]:
        """The search path without Hydra's own entries, each with its scheme."""
        sources = self.hydra_loader.get_sources()
        return tuple(f"{s.scheme()}://{s.path}" for s in sources if s.provider not in ("hydra", "schema"))

    def unavailable(self) -> list[str]:
        """The entries of the search path that cannot be read."""
        missing = [s.path for s in self.hydra_loader.get_sources() if s.provider == "user" and not s.available()]
        return [*self._unreadable, *missing]

    def package(self, path: str) -> str:
        """The package of an option, or of the first option of a group, from its file's header."""
        group, _, name = path.rpartition("/") if not self.is_group(path) else (path, "", "")
        file = self.source_file(f"{group}/{name}") if name else None
        for option in () if name else self.options(group):
            file = file or self.source_file(f"{group}/{option}")
        return Option(group=group, name=name, file=Path(file)).package if file else group.replace("/", ".")

    def header(self, path: str) -> str:
        """The package in the header of an option's file; empty if there is none."""
        file = self.source_file(path)
        group, _, name = path.rpartition("/")
        return (package_of(Option(group=group, name=name, file=Path(file)).text()) or "") if file else ""

    @cached_property
    def listed(self) -> frozenset[str]:
        """The groups in the primary config's defaults list."""
        primary = self.read(CONFIG_NAME)
        return frozenset(str(getattr(d, "group", "")) for d in (primary.defaults_list if primary else None) or ())

    def default_option(self, group: str) -> str | None:
        """The option of a group in the primary config's defaults list."""
        primary = self.read(CONFIG_NAME)
        defaults: Any = (primary.defaults_list if primary else None) or ()
        return next((str(d.value) for d in defaults if getattr(d, "group", None) == group), None)

    def read(self, config_path: str) -> ConfigResult | None:
        """Read an option file (``modeling/param/small``) as Hydra does; returns a copy that may be modified."""
        return self._repository.load_config(config_path)

    def compose(self, choices: Sequence[str]) -> DictConfig:
        """Compose the config for some choices of options, once for each distinct sequence of them."""
        return pickle.loads(self._compose(tuple(choices))[0])  # type: ignore[no-any-return]

    def defaults(self, choices: Sequence[str]) -> tuple[ResultDefault, ...]:
        """The option files of a config, in the order in which they were merged."""
        return self._compose(tuple(choices))[1]

    def imports(self, choices: Sequence[str]) -> Imported:
        """The option files of a config as a tree: each with those in its defaults list."""
        found = self.hydra_loader.compute_defaults_list(CONFIG_NAME, list(choices), RunMode.RUN)
        roots: Any = found.defaults_tree.children
        return self._imported(next(r for r in roots if r.node.get_config_path() == CONFIG_NAME))

    def _imported(self, node: Any) -> Imported:
        default = getattr(node, "node", node)
        path = str(default.get_config_path())
        inner = [(c, getattr(c, "node", c)) for c in getattr(node, "children", None) or ()]
        return Imported(
            path=path,
            package=default.get_final_package(),
            file=self.source_file(path),
            imports=tuple(self._imported(c) for c, d in inner if not _is_not_a_file(d)),
        )

    def _compose(self, choices: tuple[str, ...]) -> tuple[bytes, tuple[ResultDefault, ...]]:
        if choices not in self._composed:
            cfg = self._load(choices)
            self._composed[choices] = pickle.dumps(cfg, pickle.HIGHEST_PROTOCOL), self.hydra_loader.last
        return self._composed[choices]

    def _load(self, choices: Sequence[str]) -> DictConfig:
        try:
            return self.hydra_loader.load_configuration(
                CONFIG_NAME, list(choices), run_mode=RunMode.RUN, validate_sweep_overrides=False
            )
        except RecursionError as error:
            message = "the defaults list of a chosen option leads back to itself"
            raise BadInput(Problem(key="defaults", message=message)) from error

    def apply(self, values: Sequence[Override], cfg: DictConfig) -> None:
        """Set values in a composed config, with Hydra's rules for ``+``, ``++`` and ``~``."""
        HydraLoader._apply_overrides_to_config(list(values), cfg)

    def source_file(self, config_path: str) -> str | None:
        """The file that an option is read from; None where the option is not a file."""
        file = self._repository.file_of(config_path)
        return str(file) if file else None

    def describe(self, what: str, choices: Sequence[str], values: Sequence[str]) -> None:
        """Let Hydra print its information on a composition (``searchpath``, ``defaults-tree``, …)."""
        hydra = Hydra(task_name="when_ml_pipeline_meets_hydra", config_loader=self.hydra_loader)
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, []  # other handlers would print unmasked values
        try:
            hydra.show_info(what, CONFIG_NAME, [*choices, *values], RunMode.RUN)
        finally:
            root.handlers = handlers  # Hydra leaves one behind that refers to the current stdout
