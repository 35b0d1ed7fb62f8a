"""Runs steps as the jobs of a Hydra launcher: joblib, submitit, …"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from when_ml_pipeline_meets_hydra.composing.launcher_plugins import make_launcher
from when_ml_pipeline_meets_hydra.composing.resolvers import hydra_config, register
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
from when_ml_pipeline_meets_hydra.execution.runners.waves import Launched
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, compute
from when_ml_pipeline_meets_hydra.planning.plan import Step


class HydraLauncher:
    """Computes steps with a Hydra launcher, each as one job of the launcher.

    ``config`` is the config of the run. The launcher receives names of steps instead of overrides, which may contain
    secrets; the pickled tasks are attached to the names.
    """

    def __init__(self, config: DictConfig) -> None:
        register()
        self._config, self._job_count = _launcher_config(config), 0

    def __call__(self, tasks: Sequence[Task]) -> Sequence[Launched]:
        """Compute ``tasks`` in parallel. Raises ``BadInput`` if the launcher is not installed."""
        names = [_StepName(f"{task.step.call.stage}-{task.step.key[:12]}", task) for task in tasks]
        loader: Any = _TaskLoader(self._config)
        failed: Exception | None
        try:
            with hydra_config(self._config):
                launcher = make_launcher(self._config, loader, _compute)
                returned = launcher.launch([[name] for name in names], initial_job_idx=self._job_count)
            failed = None
        except Exception as error:  # e.g. of a killed process: the whole batch fails with it
            failed = error
        self._job_count += len(tasks)
        return [self._retry(failed, task, len(tasks)) for task in tasks] if failed else [_launched(r) for r in returned]

    def _retry(self, error: Exception, task: Task, size: int) -> Launched:
        """Return the result of a task whose batch of ``size`` failed: load it from the store, or launch it alone."""
        if not task.step.is_storable or task.step.is_forced:
            return error, ""  # it may have acted already
        if task.store.has(task.step.key):
            found = compute(task, Observer())
            return found if isinstance(found, Outcome) else error, ""
        return (error, "") if size == 1 else self([task])[0]


def _launcher_config(run_config: DictConfig) -> DictConfig:
    """Return the config for the launcher: without configs and logs of its own, which would contain secrets.

    Working directory and environment are not changed either; the context of the step does that.
    """
    config = OmegaConf.merge(OmegaConf.masked_copy(run_config, "hydra"), {"hydra": {"output_subdir": None}})
    config.hydra.sweep.subdir = "."
    config.hydra.job.chdir = False
    config.hydra.job.env_set = {}
    for logs in ("job_logging", "hydra_logging"):
        config.hydra[logs] = {"version": 1, "root": None, "disable_existing_loggers": False}
    assert isinstance(config, DictConfig)
    return config


class _StepName(str):
    """The name of a step with its pickled task, for the process in which the launcher runs it."""

    task: bytes

    def __new__(cls, name: str, task: Task | bytes) -> _StepName:
        made = super().__new__(cls, name)
        made.task = task if isinstance(task, bytes) else pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _StepName, (str(self), self.task)


class _TaskLoader:
    """Config loader for launchers, which returns the config of the run instead of composing."""

    def __init__(self, config: DictConfig) -> None:
        self._config = config

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        global _next_task
        (name,) = sweep_overrides
        assert isinstance(name, _StepName)
        _next_task = name.task
        config = OmegaConf.merge(self._config, {"hydra": {"overrides": {"task": [str(name)]}}})
        assert isinstance(config, DictConfig)
        return config


_next_task = b""


class _Collector(Observer):
    """Collects the output of a step."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def step_printed(self, step: Step, text: str) -> None:
        self.printed.append(text)


def _compute(_: DictConfig) -> tuple[Outcome | Locked, str]:
    collector = _Collector()
    return compute(pickle.loads(_next_task), collector), "".join(collector.printed)


def _launched(returned: JobReturn) -> Launched:
    try:
        found, printed = returned.return_value
    except BaseException as error:
        return error, ""
    return found if isinstance(found, Outcome) else RuntimeError(f"the launcher returned {found!r}"[:200]), printed
