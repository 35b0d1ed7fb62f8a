"""Runs a command in the project of the working folder; what the command line or the environment says comes first."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from when_ml_pipeline_meets_hydra.cli import COMMANDS
from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, HOME, PACKAGES, PROJECT
from when_ml_pipeline_meets_hydra.composing.project import FILE, TABLE, Project, find_project

_PATH = "PYTHONPATH"
_VARIABLES = (PROJECT, HOME, PACKAGES, CONFIG_STORE, _PATH)


@contextmanager
def left_as_they_were() -> Iterator[None]:
    """Restore the variables and the path that a project sets, for a process that goes on."""
    variables, path = {name: os.environ.get(name) for name in _VARIABLES}, list(sys.path)
    try:
        yield
    finally:
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        sys.path[:] = path


def enter_project(arguments: list[str]) -> list[str]:
    """Find the project of the working folder, and return the arguments, in which an alias is replaced.

    Its packages, home and store become environment variables where these are not set, so that processes which are
    started know them as well; the folder of its packages comes onto their path. Raises ``BadInput``.
    """
    os.environ.pop(PROJECT, None)
    if (project := find_project(os.getcwd(), tuple(COMMANDS))) is None:  # noqa: PTH109 - as fast as possible
        return arguments
    for name, value in project.variables.items():
        os.environ.setdefault(name, value)
    if (source := project.source) and source not in sys.path:
        sys.path.insert(0, source)
    if source and source not in (given := os.environ.get(_PATH, "")).split(os.pathsep):
        os.environ[_PATH] = f"{source}{os.pathsep}{given}" if given else source
    return without_alias(arguments)


def current_project() -> Project | None:
    """The project that was entered."""
    root = os.environ.get(PROJECT)
    return find_project(root, tuple(COMMANDS)) if root else None


def without_alias(arguments: list[str]) -> list[str]:
    """The arguments with those that an alias stands for, if the first one is an alias."""
    project = current_project()
    found = project.aliases.get(arguments[0]) if project and arguments else None
    return [*found, *arguments[1:]] if found else arguments


def with_project_folders(config_dirs: Sequence[str] | None) -> list[str]:
    """Return folders of option files with those of the project, of which the given ones have precedence."""
    given = list(config_dirs or ())
    if (project := current_project()) is None:
        return given
    known = {os.path.abspath(entry) for entry in given}  # noqa: PTH100 - not through links
    return [*given, *(folder for folder in project.config_dirs if folder not in known)]


def show_project() -> int:
    """Print the settings of the project, each as it is in force."""
    import shlex

    from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml

    if (project := current_project()) is None:
        print(f"There is no project here: no [{TABLE}] in the nearest {FILE}")
        return 0
    content = {
        "project": str(project.file),
        "config_dirs": list(project.config_dirs),
        "packages": os.environ.get(PACKAGES, "").split(),
        "src": project.source,
        "home": os.environ[HOME],
        "config_store": os.environ.get(CONFIG_STORE),
        "aliases": {name: shlex.join(words) for name, words in project.aliases.items()},
    }
    sys.stdout.write(dump_yaml(content, width=1000))
    return 0
