"""Checks and creates the launcher plugin of a config."""

from __future__ import annotations

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from when_ml_pipeline_meets_hydra.errors import Problem


def launcher_problem(whole: DictConfig) -> Problem | None:
    """The problem if the launcher of a config cannot be created, otherwise None."""
    try:
        Plugins.instance()._instantiate(whole.hydra.launcher)
    except Exception as error:
        message = f"this launcher cannot be used: {str(error).splitlines()[0]}"
        return Problem(key="hydra/launcher", message=message, remedy="Is its plugin installed?")
    return None


def make_launcher(whole: DictConfig, loader: ConfigLoader, task_function: TaskFunction) -> Launcher:
    """Create the launcher of a config; it loads each job's config from ``loader`` and calls ``task_function`` on it."""
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task_function, config=whole)
