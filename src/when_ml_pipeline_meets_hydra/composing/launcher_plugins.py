"""Checks and creates the launcher plugin of a config."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from when_ml_pipeline_meets_hydra.composing import plugins
from when_ml_pipeline_meets_hydra.errors import Problem


def launcher_problem(whole: DictConfig) -> Problem | None:
    """The problem if the launcher of a config cannot be created, otherwise None."""
    plugins.load()
    try:
        Plugins.instance()._instantiate(_resolved(whole).hydra.launcher)
    except Exception as error:
        message = f"this launcher cannot be used: {str(error).splitlines()[0]}"
        return Problem(key="hydra/launcher", message=message, remedy="Is its plugin installed?")
    return None


def make_launcher(whole: DictConfig, loader: ConfigLoader, task_function: TaskFunction) -> Launcher:
    """Create the launcher of a config; it loads each job's config from ``loader`` and calls ``task_function`` on it."""
    plugins.load()
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    return Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=task_function, config=_resolved(whole)
    )


def _resolved(whole: DictConfig) -> DictConfig:
    """A copy with plain values for the launcher. Raises ``ValueError`` if one of them names code."""
    launcher: Any = OmegaConf.to_container(whole.hydra.launcher, resolve=True)
    if isinstance(launcher, dict) and any("_target_" in part for part in _mappings([*launcher.values()])):
        raise ValueError("an argument of a launcher is a value, and names no code")
    found = copy.copy(whole)
    found.hydra.launcher = launcher
    return found


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _mappings(value)
