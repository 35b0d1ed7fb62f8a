"""Steps computed as the jobs of one of Hydra's launchers: joblib, submitit, …"""

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
from when_ml_pipeline_meets_hydra.execution.step import Busy, Task, compute
from when_ml_pipeline_meets_hydra.planning.plan import Step


class HydraLauncher:
    """Lets a launcher of Hydra's (joblib, submitit, …) compute steps: each is one of its jobs.

    ``whole`` is the config of the run. The launcher sees neither secrets nor the overrides that hold them: it is given
    the names of steps, and their inputs travel beside.
    """

    def __init__(self, whole: DictConfig) -> None:
        register()
        self._whole, self._launched = _quiet(whole), 0

    def __call__(self, tasks: Sequence[Task]) -> Sequence[Launched]:
        """Compute ``tasks`` side by side. Raises ``BadInput`` where there is no such launcher."""
        names = [_Name(f"{task.step.call.stage}-{task.step.key[:12]}", task) for task in tasks]
        loader: Any = _TaskLoader(self._whole)
        failed: Exception | None
        try:
            with hydra_config(self._whole):
                launcher = make_launcher(self._whole, loader, _compute)
                returned = launcher.launch([[name] for name in names], initial_job_idx=self._launched)
            failed = None
        except Exception as error:  # such as that of a process which was killed: it takes the whole wave with it
            failed = error
        self._launched += len(tasks)
        return [self._after(failed, task, len(tasks)) for task in tasks] if failed else [_value(r) for r in returned]

    def _after(self, error: Exception, task: Task, size: int) -> Launched:
        """What became of a task whose wave of ``size`` failed as a whole: it has its result, or is launched alone."""
        if not task.step.is_storable or task.step.is_forced:
            return error, ""  # it may have acted already
        if task.store.has(task.step.key):
            found = compute(task, Observer())
            return found if isinstance(found, Outcome) else error, ""
        return (error, "") if size == 1 else self([task])[0]


def _quiet(whole: DictConfig) -> DictConfig:
    """A config for launchers: they write no configs and no logs of their own, since secrets would be in them.

    Nor do they change the working folder and the environment: where that is wanted, the context of the step does it.
    """
    config = OmegaConf.merge(OmegaConf.masked_copy(whole, "hydra"), {"hydra": {"output_subdir": None}})
    config.hydra.sweep.subdir = "."
    config.hydra.job.chdir = False
    config.hydra.job.env_set = {}
    for logs in ("job_logging", "hydra_logging"):
        config.hydra[logs] = {"version": 1, "root": None, "disable_existing_loggers": False}
    assert isinstance(config, DictConfig)
    return config


class _Name(str):
    """The name of a step; its task travels with it to the process in which the launcher runs it."""

    task: bytes

    def __new__(cls, name: str, task: Task | bytes) -> _Name:
        made = super().__new__(cls, name)
        made.task = task if isinstance(task, bytes) else pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _Name, (str(self), self.task)


class _TaskLoader:
    """Gives a launcher the config of a step; it composes nothing."""

    def __init__(self, whole: DictConfig) -> None:
        self._whole = whole

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        global _next
        (name,) = sweep_overrides
        assert isinstance(name, _Name)
        _next = name.task
        config = OmegaConf.merge(self._whole, {"hydra": {"overrides": {"task": [str(name)]}}})
        assert isinstance(config, DictConfig)
        return config


_next = b""


class _Collector(Observer):
    """Keeps what a step prints."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def step_printed(self, step: Step, text: str) -> None:
        self.printed.append(text)


def _compute(_: DictConfig) -> tuple[Outcome | Busy, str]:
    collector = _Collector()
    return compute(pickle.loads(_next), collector), "".join(collector.printed)


def _value(returned: JobReturn) -> Launched:
    try:
        found, printed = returned.return_value
    except BaseException as error:
        return error, ""
    return found if isinstance(found, Outcome) else RuntimeError(f"the launcher returned {found!r}"[:200]), printed
