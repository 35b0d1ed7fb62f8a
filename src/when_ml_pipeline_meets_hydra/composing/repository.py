"""The option files on a search path, each read once; the program's additions to the primary config."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing import limits
from when_ml_pipeline_meets_hydra.composing.dependent_defaults import has_interpolations, with_choices
from when_ml_pipeline_meets_hydra.composing.hydra_patches import DefaultsList, libyaml
from when_ml_pipeline_meets_hydra.composing.job import SETTINGS
from when_ml_pipeline_meets_hydra.composing.job_file import CONFIG_NAME
from when_ml_pipeline_meets_hydra.composing.origins import written_option
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, Stage, broken_file, by_choice, extended, folder_of
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

# The part of the program's primary config that a job file has beneath its own keys: the settings of a run.
BENEATH = "when_ml_pipeline_meets_hydra"

# Parsed option files: (name, file, its state) → the pickled result, since composing modifies what it is given.
_CACHE: dict[tuple[object, ...], bytes] = {}


class Repository(ConfigRepository):
    """Reads each file once, and adds every stage's subcommand to the primary config's defaults list.

    So the primary config does not have to list the stages. A job file has the settings of a run besides.
    """

    def __init__(self, config_search_path: ConfigSearchPath, config_name: str, *, has_job_file: bool) -> None:
        super().__init__(config_search_path)
        self.stages: tuple[Stage, ...] = ()
        self._config_name, self._has_job_file = config_name, has_job_file
        self._entries: dict[str, tuple[dict[tuple[object, ...], bytes], tuple[object, ...]]] = {}
        self._own_cache: dict[tuple[object, ...], bytes] = {}  # configs that are not files
        self.interpolated: set[str] = set()  # files with interpolations in their defaults lists, maybe of variables
        self._folders = [(source, folder_of(source.full_path())) for source in self.get_sources()]

    def __deepcopy__(self, memo: Any) -> Repository:
        return copy.copy(self)  # Hydra copies it for each composition, in case sources change; here they do not

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Read an option file; returns a copy that may be modified, None if there is none. Raises ``BadInput``."""
        if config_path not in self._entries:
            self._entries[config_path] = self._entry(config_path)
        cache, key = self._entries[config_path]
        if key not in cache:
            try:
                cache[key] = pickle.dumps(self._load(config_path), pickle.HIGHEST_PROTOCOL)
            except RecursionError as error:
                raise BadInput(self._broken(config_path, ValueError("it is nested too deeply"))) from error
        result: ConfigResult | None = pickle.loads(cache[key])
        if result is not None and config_path == self._config_name:
            subcommands = [GroupDefault(group=s.group, value=s.subcommand) for s in self.stages]
            beneath = [ConfigDefault(path=f"/{BENEATH}")] if self._has_job_file else []
            result.defaults_list = DefaultsList([*beneath, *subcommands, *(result.defaults_list or ())])
            if self._has_job_file and isinstance(own := OmegaConf.select(result.config, "hydra"), DictConfig):
                own.pop("searchpath", None)  # it is on the search path already
        if result is not None and result.defaults_list is not None:
            result.defaults_list = with_choices(result.defaults_list, self.chosen_file)
            if has_interpolations(result.defaults_list):
                self.interpolated.add(config_path)
        return result

    def chosen_file(self, path: str, chosen: Mapping[str, str]) -> str | None:
        """The file that a path with a group in it stands for; see ``by_choice``."""
        return by_choice(path, chosen, self._extended, self.config_exists)

    def _settings(self) -> ConfigResult:
        """The settings of a run, with their defaults in the program's primary config."""
        main = next(source for source in self.get_sources() if source.provider == "main")
        result = main.load_config(CONFIG_NAME)
        written = self._extract_defaults_list(CONFIG_NAME, result.config)
        result.defaults_list = [d for d in self._create_defaults_list(CONFIG_NAME, written) if d.is_override()]
        for key in {*result.config} - {*SETTINGS, "hydra"}:
            del result.config[key]
        return result

    def _extended(self, group: str, option: str) -> list[str]:
        read = self.load_config(f"{group}/{option}")
        paths = [str(d.path) for d in (read.defaults_list if read else None) or () if isinstance(d, ConfigDefault)]
        return extended(group, paths)

    def _create_defaults_list(self, config_path: str, defaults: ListConfig) -> list[InputDefault]:
        """Take numbers and truth values for the names of options, as they are written: ``modeling/param: 1e3``.

        ``small.yaml`` is the option ``small``.
        """
        for number, item in enumerate(defaults._iter_ex(resolve=False)):
            if isinstance(item, str):
                defaults[number] = item.removesuffix(".yaml")
            for key in item if isinstance(item, DictConfig) else ():
                node: Any = item._get_node(key)
                if isinstance(value := node._value(), str):
                    item[key] = value.removesuffix(".yaml")
                elif isinstance(value, bool | int | float):
                    file = self.file_of(config_path)
                    item[key] = (file and written_option(file, number, str(key))) or str(value).lower()
        return super()._create_defaults_list(config_path, defaults)

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        """The options of a group; a file with a leading dot is none."""
        return [o for o in super().get_group_options(group_name, results_filter) if not str(o).startswith(".")]

    def file_of(self, config_path: str) -> Path | None:
        """The file that an option is read from; None where the option is not a file."""
        if config_path == BENEATH:
            return PRIMARY / f"{CONFIG_NAME}.yaml"
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
                result = self._settings() if config_path == BENEATH else super().load_config(config_path)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            raise BadInput(self._broken(config_path, error)) from error
        if result is not None and result.defaults_list is not None:
            result.defaults_list = DefaultsList(result.defaults_list)
        return result

    def _broken(self, config_path: str, error: Exception) -> Problem:
        group, _, name = config_path.rpartition("/")
        return broken_file(f"{group}={name}", self.file_of(config_path) or Path(config_path), error)
