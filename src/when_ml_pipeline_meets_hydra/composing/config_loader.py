"""Option files, defaults lists, composing: what is used of Hydra's internals (seen to work on 1.3.8 and 1.4.0rc3)."""

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
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing import hydra_patches, resolvers
from when_ml_pipeline_meets_hydra.composing.hydra_patches import Defaults, parents_left_alone, yaml_in_c
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.composing.tree import (
    PRIMARY,
    STAGES,
    Option,
    Stage,
    broken_file,
    folder_of,
    read_stages,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

__all__ = ["CompositionError", "HydraException", "Loader", "ResultDefault"]

CONFIG_NAME = "config"

CompositionError = (HydraException, OmegaConfBaseException)

# What was read already: name, file and its state → what it says (pickled, since composing changes what it is given).
_READ: dict[tuple[object, ...], bytes] = {}


class _Repository(ConfigRepository):
    """Reads each file once, and adds the subcommand of every stage to the primary config's defaults.

    So the primary config need not list the stages.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.stages: tuple[Stage, ...] = ()
        self._found: dict[str, tuple[dict[tuple[object, ...], bytes], tuple[object, ...]]] = {}
        self._read: dict[tuple[object, ...], bytes] = {}  # what is in no file
        self._folders = [(source, folder_of(source.full_path())) for source in self.get_sources()]

    def __deepcopy__(self, memo: Any) -> _Repository:
        return copy.copy(self)  # Hydra copies it for each composition, lest its sources change; here they do not

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._found:
            self._found[config_path] = self._place(config_path)
        read, key = self._found[config_path]
        if key not in read:
            read[key] = pickle.dumps(self._load(config_path), pickle.HIGHEST_PROTOCOL)
        result: ConfigResult | None = pickle.loads(read[key])
        if result is not None and config_path == CONFIG_NAME:
            subcommands = [GroupDefault(group=s.group, value=s.subcommand) for s in self.stages]
            result.defaults_list = Defaults([*subcommands, *(result.defaults_list or ())])
        return result

    def file_of(self, config_path: str) -> Path | None:
        """The file that an option is read from; None where the option is not a file."""
        for source, folder in self._folders:
            if folder and (file := folder / f"{config_path}.yaml").is_file():
                return file
            if not folder and source.is_config(config_path):
                break
        return None

    def _place(self, config_path: str) -> tuple[dict[tuple[object, ...], bytes], tuple[object, ...]]:
        """Where what a config says is kept, and under which key."""
        file = self.file_of(config_path)
        if file is None:
            return self._read, (config_path,)
        state = file.stat()
        return _READ, (config_path, str(file), state.st_ino, state.st_size, state.st_mtime_ns)

    def _load(self, config_path: str) -> ConfigResult | None:
        try:
            with yaml_in_c():
                result = super().load_config(config_path)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            raise BadInput(self._broken(config_path, error)) from error
        if result is not None and result.defaults_list is not None:
            result.defaults_list = Defaults(result.defaults_list)
        return result

    def _broken(self, config_path: str, error: Exception) -> Problem:
        group, _, name = config_path.rpartition("/")
        return broken_file(f"{group}={name}", self.file_of(config_path) or Path(config_path), error)


class _RememberingLoader(ConfigLoaderImpl):
    """Keeps the defaults list of the config that it composed last."""

    last: tuple[ResultDefault, ...] = ()

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self.last = tuple(d for d in defaults if d.config_path and not d.config_path.startswith("hydra/"))
        with parents_left_alone():
            cfg = super()._compose_config_from_defaults_list(defaults, repo)
        cfg._re_parent()
        return cfg


@dataclass(frozen=True, kw_only=True)
class Imported:
    """An option file, where its keys land, and those that it pulls in, in their order."""

    path: str
    package: str
    file: str | None
    imports: tuple[Imported, ...]


def _is_no_file(default: Any) -> bool:
    """Whether an entry of a defaults list is the file itself, a choice that was taken back, or one of Hydra's own."""
    if default.is_self() or default.is_override() or default.is_deleted() or default.is_missing():
        return True
    return str(default.get_config_path()).startswith("hydra/")


def _is_readable(entry: str) -> bool:
    """Whether anything reads option files from places of that kind (``pkg://…``, or what a plugin knows)."""
    try:
        SourcesRegistry.instance().resolve(entry.partition("://")[0])
    except ValueError:
        return False
    return True


class Loader:
    """Hydra's config loader over the program's own tree and the user's folders."""

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        resolvers.register()
        hydra_patches.install()
        path = create_config_search_path(str(PRIMARY))
        schema = path.get_path().pop()
        self._unreadable = [entry for entry in search_path if "://" in entry and not _is_readable(entry)]
        for entry in search_path:
            if entry not in self._unreadable:
                path.append(provider="user", path=entry if "://" in entry else f"file://{folder_of(entry)}")
        path.get_path().append(schema)
        self._groups: dict[str, bool] = {}
        self._options: dict[str, list[str]] = {}
        self.hydra_loader = _RememberingLoader(config_search_path=path)
        self.hydra_loader.repository = self._repository = _Repository(config_search_path=path)
        self._repository.stages = self.stages = read_stages(
            self.options(STAGES), lambda name: self.file_content(f"{STAGES}/{name}"), self.options
        )
        self._parser = OverridesParser.create(config_loader=self.hydra_loader)
        self._composed: dict[tuple[str, ...], tuple[bytes, tuple[ResultDefault, ...]]] = {}

    def parse(self, line: str) -> Override:
        """One override as a person typed it, with ``glob(…)`` over the options of a group."""
        return self._parser.parse_overrides([line])[0]

    def options(self, group: str) -> list[str]:
        """The names of the options of ``group``; empty where there is no such group."""
        if group not in self._options:
            found = self.hydra_loader.repository.get_group_options(group, ObjectType.CONFIG)
            self._options[group] = [str(o) for o in found]
        return self._options[group]

    def is_group(self, name: str) -> bool:
        """Whether the search path has a group of that name."""
        if name not in self._groups:
            self._groups[name] = "\0" not in name and self.hydra_loader.repository.group_exists(name)
        return self._groups[name]

    def is_choice(self, override: Override) -> bool:
        """Whether an override chooses an option of a group."""
        return self.is_group(override.key_or_group) and not isinstance(override.value(), dict)

    def groups(self, parent: str = "") -> list[str]:
        """All groups below ``parent``, with their whole names."""
        names = [f"{parent}/{n}" if parent else str(n) for n in self.hydra_loader.list_groups(parent)]
        return [g for name in names for g in (name, *self.groups(name))]

    def file_content(self, path: str) -> Mapping[str, Any]:
        """What one option file says (``c/modeling``), not resolved."""
        loaded = self.read(path)
        content = OmegaConf.to_container(loaded.config) if loaded else {}
        return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}

    @property
    def search_path(self) -> tuple[str, ...]:
        """Where option files are looked for, but for Hydra's own; each with its scheme."""
        sources = self.hydra_loader.get_sources()
        return tuple(f"{s.scheme()}://{s.path}" for s in sources if s.provider not in ("hydra", "schema"))

    def unavailable(self) -> list[str]:
        """The entries of the search path that cannot be read."""
        missing = [s.path for s in self.hydra_loader.get_sources() if s.provider == "user" and not s.available()]
        return [*self._unreadable, *missing]

    def package(self, path: str) -> str:
        """Where the keys of an option land, or of the first option of a group, as its file says."""
        group, _, name = path.rpartition("/") if not self.is_group(path) else (path, "", "")
        file = self.source_file(f"{group}/{name}") if name else None
        for option in () if name else self.options(group):
            file = file or self.source_file(f"{group}/{option}")
        return Option(group=group, name=name, file=Path(file)).package if file else group.replace("/", ".")

    @cached_property
    def listed(self) -> frozenset[str]:
        """The groups that the primary config's defaults list names."""
        primary = self.read(CONFIG_NAME)
        return frozenset(str(getattr(d, "group", "")) for d in (primary.defaults_list if primary else None) or ())

    def read(self, config_path: str) -> ConfigResult | None:
        """One option file (``modeling/param/small``) as Hydra reads it; a copy that may be changed."""
        return self._repository.load_config(config_path)

    def compose(self, choices: Sequence[str]) -> DictConfig:
        """The config for some choices of options; composed once for each distinct set of them."""
        return pickle.loads(self._compose(tuple(choices))[0])  # type: ignore[no-any-return]

    def defaults(self, choices: Sequence[str]) -> tuple[ResultDefault, ...]:
        """The option files of a config, in the order in which they were merged."""
        return self._compose(tuple(choices))[1]

    def imports(self, choices: Sequence[str]) -> Imported:
        """The option files of a config as a tree: each with those that its defaults list names."""
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
            imports=tuple(self._imported(c) for c, d in inner if not _is_no_file(d)),
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
            message = "that of a chosen option leads back to itself"
            raise BadInput(Problem(key="defaults", message=message)) from error

    def apply(self, values: Sequence[Override], cfg: DictConfig) -> None:
        """Set values in a composed config, with Hydra's rules for ``+``, ``++`` and ``~``."""
        ConfigLoaderImpl._apply_overrides_to_config(list(values), cfg)

    def source_file(self, config_path: str) -> str | None:
        """The file that an option is read from; None where the option is not a file."""
        file = self._repository.file_of(config_path)
        return str(file) if file else None

    def describe(self, what: str, choices: Sequence[str], values: Sequence[str]) -> None:
        """Let Hydra print what it knows about a composition (``searchpath``, ``defaults-tree``, …)."""
        hydra = Hydra(task_name="when_ml_pipeline_meets_hydra", config_loader=self.hydra_loader)
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, []  # what others print would not be masked
        try:
            hydra.show_info(what, CONFIG_NAME, [*choices, *values], RunMode.RUN)
        finally:
            root.handlers = handlers  # Hydra leaves one that holds on to the present stdout
