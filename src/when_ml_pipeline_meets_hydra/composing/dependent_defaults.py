"""Entries of defaults lists that name a file by the option chosen in a group: ``${modeling/model}/small``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.default_element import ConfigDefault
from omegaconf import DictConfig

from when_ml_pipeline_meets_hydra.composing.hydra_patches import DefaultsList
from when_ml_pipeline_meets_hydra.composing.tree import groups_in

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

# (a path with a group in it, the option chosen in each group) → the file, or None; see ``by_choice``.
_Find = Callable[[str, Mapping[str, str]], str | None]


class ByChoice(ConfigDefault):
    """A file that depends on the option chosen in a group, or none.

    Hydra has interpolations of file names, too, but no other file where there is none of that name; and 1.3.8 looks in
    the wrong folder.
    """

    find: _Find

    def is_interpolation(self) -> bool:
        """Whether the file is not known yet."""
        return bool(groups_in(str(self.path)))

    def resolve_interpolation(self, known_choices: DictConfig) -> None:
        """Find the file, once the choices are known."""
        chosen = {str(k): v for k, v in known_choices.items() if isinstance(v, str)}
        self.path = f"/{self.find(self.get_config_path(), chosen) or 'no file'}"


class _WithChoices(DefaultsList):
    """A defaults list whose entries are copied one by one: what they are found by cannot be pickled."""

    def __deepcopy__(self, memo: Any) -> list[Any]:
        return [copy.copy(entry) for entry in self]


def with_choices(entries: Sequence[Any], find: _Find) -> DefaultsList:
    """Return a defaults list with ``ByChoice`` for the entries that need it."""
    if not any(map(_depends, entries)):
        return DefaultsList(entries)
    return _WithChoices(_by_choice(entry, find) if _depends(entry) else entry for entry in entries)


def has_interpolations(entries: Sequence[Any]) -> bool:
    """Whether an entry has an interpolation other than the option chosen in a group."""
    return any("${" in str(vars(entry)) for entry in entries if not isinstance(entry, ByChoice))


def _by_choice(entry: ConfigDefault, find: _Find) -> ByChoice:
    made = ByChoice(path=entry.path, package=entry.package, optional=True)
    made.find = find
    return made


def _depends(entry: Any) -> bool:
    return isinstance(entry, ConfigDefault) and bool(groups_in(str(entry.path)))


def content(path: str, chosen: Mapping[str, str], loader: Loader) -> Mapping[str, Any]:
    """Return the unresolved content of an option file and of the files in its defaults list, but not of groups there.

    ``chosen`` maps groups to their options.
    """
    found: dict[str, Any] = {}
    for default in _files(path, loader):
        if isinstance(default, ByChoice):
            default.path = f"/{default.find(default.get_config_path(), chosen) or 'no file'}"
        found |= content(default.get_config_path(), chosen, loader)
    return {**found, **loader.file_content(path)}


def groups_behind(path: str, loader: Loader) -> list[str]:
    """Return the groups on whose chosen options the content of an option file depends."""
    paths = [default.get_config_path() for default in _files(path, loader)]
    return [group for inner in paths for group in groups_in(inner) or groups_behind(inner, loader)]


def _files(path: str, loader: Loader) -> list[ConfigDefault]:
    """The files in a defaults list, each with the folder of the option whose list it is."""
    read = loader.read(path)
    found = [
        d for d in (read.defaults_list if read else None) or () if isinstance(d, ConfigDefault) and not d.is_self()
    ]
    for default in found:
        default.update_parent(path.rpartition("/")[0], "")
    return found
