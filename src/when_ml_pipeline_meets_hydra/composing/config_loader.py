"""Reads option files and composes configs with Hydra's internals (works with Hydra 1.3.8 and 1.4.0rc3)."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing import hydra_patches, interpolations, plugins, resolvers
from when_ml_pipeline_meets_hydra.composing.composed_before import Compositions, compositions
from when_ml_pipeline_meets_hydra.composing.hydra_loader import HydraLoader
from when_ml_pipeline_meets_hydra.composing.job_file import CONFIG_NAME, job_file, ops_of
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override, naming_options, parse_with
from when_ml_pipeline_meets_hydra.composing.repository import BENEATH, Repository
from when_ml_pipeline_meets_hydra.composing.store_entry import is_store
from when_ml_pipeline_meets_hydra.composing.tree import (
    PRIMARY,
    STAGES,
    Option,
    folder_of,
    package_of,
    read_stages,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

__all__ = ["CompositionError", "HydraException", "Loader", "ResultDefault"]

CompositionError = (HydraException, OmegaConfBaseException)

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
    """Hydra's config loader for the program's own config tree and the user's folders, which may have a job file."""

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        resolvers.register()
        hydra_patches.install()
        interpolations.install()
        plugins.load()
        path = create_config_search_path(str(PRIMARY))
        schema = path.get_path().pop()
        self._job_file = job_file(search_path)
        self.config_name = self._job_file.stem if self._job_file else CONFIG_NAME
        own = [path.get_path().pop()] if self._job_file else []  # the user's files come before the program's own
        folders = {entry: folder_of(entry) for entry in search_path}
        self._unreadable = [entry for entry, folder in folders.items() if folder is None and not _is_readable(entry)]
        self.checkouts = {entry: str(folder) for entry, folder in folders.items() if is_store(entry)}
        for entry, folder in folders.items():
            if entry not in self._unreadable:  # pkg:// becomes a folder, since Hydra would import the package
                path.append(provider="user", path=f"file://{folder}" if folder else entry)
        path.get_path().extend([*own, schema])
        self._groups: dict[str, bool] = {}
        self._options: dict[str, list[str]] = {}
        self._below: dict[str, list[str]] = {}
        self.hydra_loader = HydraLoader(config_search_path=path)
        has_job_file = self._job_file is not None
        self._repository = Repository(path, self.config_name, has_job_file=has_job_file)
        self.hydra_loader.repository = self._repository
        self._repository.stages = self.stages = read_stages(
            self.options(STAGES), lambda name: self.file_content(f"{STAGES}/{name}"), self.options
        )
        self._parser = OverridesParser.create(config_loader=self.hydra_loader)
        self._composed: Compositions = {}
        self._before = {} if has_job_file else compositions(self.hydra_loader.get_sources())

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

    @property
    def added_to_job_file(self) -> frozenset[str]:
        """The files that the program adds to the defaults list of a job file; empty without one."""
        return frozenset({BENEATH, *(f"{s.group}/{s.subcommand}" for s in self.stages)} if self._job_file else ())

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
        primary = self.read(self.config_name)
        return frozenset(str(getattr(d, "group", "")) for d in (primary.defaults_list if primary else None) or ())

    def default_option(self, group: str) -> str | None:
        """The option of a group in the primary config's defaults list."""
        primary = self.read(self.config_name)
        defaults: Any = (primary.defaults_list if primary else None) or ()
        return next((str(d.value) for d in defaults if getattr(d, "group", None) == group), None)

    def read(self, config_path: str) -> ConfigResult | None:
        """Read an option file (``modeling/param/small``) as Hydra does; returns a copy that may be modified."""
        return self._repository.load_config(config_path)

    def compose(self, choices: Sequence[str]) -> DictConfig:
        """Compose the config for some choices of options, once for each distinct sequence of them."""
        cfg: DictConfig = pickle.loads(self._compose(tuple(choices))[0])
        cfg.hydra.runtime.cwd = str(Path.cwd())
        return cfg

    def defaults(self, choices: Sequence[str]) -> tuple[ResultDefault, ...]:
        """The option files of a config, in the order in which they were merged."""
        return self._compose(tuple(choices))[1]

    def _compose(self, choices: tuple[str, ...]) -> tuple[bytes, tuple[ResultDefault, ...]]:
        found = self._composed.get(choices) or self._before.get(choices)
        if found is None:
            cfg = self._load(choices)
            defaults = self._of_job_file(cfg) if self._job_file else self.hydra_loader.last
            found = pickle.dumps(cfg, pickle.HIGHEST_PROTOCOL), defaults
            reads_more = self._repository.interpolated or cfg.hydra.job.env_copy
            (self._composed if reads_more else self._before)[choices] = found
        return found

    def _of_job_file(self, cfg: DictConfig) -> tuple[ResultDefault, ...]:
        """Take the subcommands of stages that a job file does not have out of its config; returns the other files."""
        ops = ops_of(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
        others = {stage.group: f"{stage.name}_sub" for stage in self.stages if stage.name not in ops}
        choices: Any = cfg.hydra.runtime.choices
        for group, key in others.items():
            cfg._content.pop(key, None)  # type: ignore[union-attr]
            choices._content.pop(group, None)
        return tuple(d for d in self.hydra_loader.last if str(d.config_path).rpartition("/")[0] not in others)

    def _load(self, choices: Sequence[str]) -> DictConfig:
        try:
            return self.hydra_loader.load_configuration(
                self.config_name, list(choices), run_mode=RunMode.RUN, validate_sweep_overrides=False
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
            hydra.show_info(what, self.config_name, [*choices, *values], RunMode.RUN)
        finally:
            root.handlers = handlers  # Hydra leaves one behind that refers to the current stdout
