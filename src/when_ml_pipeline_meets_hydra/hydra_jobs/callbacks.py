"""Hydra where jobs run: the config that ``HydraConfig`` holds, callbacks, and other launchers than our own."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.conf import HydraConf
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing.resolvers import hydra_config, register
from when_ml_pipeline_meets_hydra.composing.values import first_line
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.runners.waves import Launched
from when_ml_pipeline_meets_hydra.execution.step import Busy, Task, compute
from when_ml_pipeline_meets_hydra.planning.plan import Step


def whole_config(config: Mapping[str, Any], hydra: Mapping[str, Any]) -> DictConfig:
    """The config of a job with Hydra's part, which has Hydra's own types and may refer to the rest."""
    register()
    typed = OmegaConf.structured(HydraConf, flags={"struct": False})
    typed.merge_with(dict(hydra))
    return OmegaConf.create({**config, "hydra": typed})


def resolve(config: Mapping[str, Any], hydra: Mapping[str, Any], key: str) -> str:
    """A key of Hydra's config (``sweep.subdir``) as a text. Raises ``BadInput`` where it leads nowhere."""
    whole = OmegaConf.create({**config, "hydra": dict(hydra)})
    try:
        with hydra_config(whole):
            return str(OmegaConf.select(whole, f"hydra.{key}", throw_on_missing=True))
    except Exception as error:
        message = f"cannot be worked out: {str(error).splitlines()[0]}"
        raise BadInput(Problem(key=f"hydra.{key}", message=message)) from error


class JobCallbacks:
    """Hydra's callbacks (``hydra.callbacks``), told of a run and of its jobs. Raises ``BadInput`` where one is wrong.

    A job ends with what its own step came to; one that was stored starts and ends at once.
    """

    def __init__(self, whole: DictConfig, *, is_multirun: bool) -> None:
        try:
            self._callbacks, self._whole = Callbacks(whole), whole
        except (HydraException, OmegaConfBaseException) as error:
            message = f"cannot be made: {first_line(error)}"
            raise BadInput(Problem(key="hydra.callbacks", message=message)) from error
        self._kind = "multirun" if is_multirun else "run"

    def run_started(self) -> None:
        """Tell that the run begins."""
        getattr(self._callbacks, f"on_{self._kind}_start")(config=self._whole, config_name="config")

    def run_ended(self) -> None:
        """Tell that the run is over, however it ended."""
        getattr(self._callbacks, f"on_{self._kind}_end")(config=self._whole, config_name="config")

    def job_started(self, whole: DictConfig, function: Any) -> None:
        """Tell that a job begins."""
        self._callbacks.on_job_start(config=whole, task_function=function)

    def job_ended(self, whole: DictConfig, outcome: Outcome) -> None:
        """Tell what a job came to: its artifact, or the error."""
        returned = JobReturn()
        returned.overrides = OmegaConf.to_container(whole.hydra.overrides.task)  # type: ignore[assignment]
        returned.hydra_cfg, returned.task_name = OmegaConf.masked_copy(whole, "hydra"), outcome.step.call.name
        returned.cfg = OmegaConf.masked_copy(whole, [str(k) for k in whole if k != "hydra"])
        if outcome.status in (Status.DONE, Status.STORED):
            returned.status, returned.return_value = JobStatus.COMPLETED, outcome.artifact
        else:
            returned.status, returned.return_value = JobStatus.FAILED, RuntimeError(outcome.error or outcome.reason)
        self._callbacks.on_job_end(config=whole, job_return=returned)


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
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        failed: Exception | None
        try:
            with hydra_config(self._whole):
                launcher = Plugins.instance().instantiate_launcher(
                    hydra_context=context, task_function=_compute, config=self._whole
                )
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


def launcher_problem(whole: DictConfig) -> Problem | None:
    """Why the launcher of a config cannot be used; None where it can."""
    try:
        Plugins.instance()._instantiate(whole.hydra.launcher)
    except Exception as error:
        message = f"this launcher cannot be used: {str(error).splitlines()[0]}"
        return Problem(key="hydra/launcher", message=message, remedy="Is its plugin installed?")
    return None


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
