"""Calls Hydra's callbacks (``hydra.callbacks``) for a run and its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.binding.hydra_targets import callback_problems
from when_ml_pipeline_meets_hydra.composing.values import first_line
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status


class JobCallbacks:
    """The callbacks of a run and its jobs. Raises ``BadInput`` if one cannot be instantiated, or is not allowed.

    ``allowed`` are the packages whose classes may be named. A job ends with the outcome of its own step; if that was
    stored, not chosen or pruned before it started, the job starts and ends immediately.
    """

    def __init__(self, config: DictConfig, allowed: Sequence[str], *, is_multirun: bool) -> None:
        try:
            # Resolved before it is checked, so that what is instantiated is what was checked.
            callbacks = OmegaConf.to_container(config.hydra.callbacks, resolve=True)
            if problems := list(callback_problems(callbacks, allowed, lambda _: None)):
                raise BadInput(*problems)
            config.hydra.callbacks = callbacks
            self._callbacks, self._config = Callbacks(config), config
        except (HydraException, OmegaConfBaseException) as error:
            message = f"cannot be made: {first_line(error)}"
            raise BadInput(Problem(key="hydra.callbacks", message=message)) from error
        self._kind = "multirun" if is_multirun else "run"

    def run_started(self) -> None:
        """Call ``on_run_start`` or ``on_multirun_start``."""
        getattr(self._callbacks, f"on_{self._kind}_start")(config=self._config, config_name="config")

    def run_ended(self) -> None:
        """Call ``on_run_end`` or ``on_multirun_end``, whatever the status of the run."""
        getattr(self._callbacks, f"on_{self._kind}_end")(config=self._config, config_name="config")

    def job_started(self, config: DictConfig, function: Any) -> None:
        """Call ``on_job_start``."""
        self._callbacks.on_job_start(config=config, task_function=function)

    def job_ended(self, config: DictConfig, outcome: Outcome) -> None:
        """Call ``on_job_end`` with the artifact, or the error, of the job's step."""
        returned = JobReturn()
        returned.overrides = OmegaConf.to_container(config.hydra.overrides.task)  # type: ignore[assignment]
        returned.hydra_cfg, returned.task_name = OmegaConf.masked_copy(config, "hydra"), outcome.step.call.name
        returned.cfg = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
        if outcome.status in (Status.DONE, Status.STORED, Status.NOT_CHOSEN, Status.PRUNED):
            returned.status, returned.return_value = JobStatus.COMPLETED, outcome.artifact
        else:
            returned.status, returned.return_value = JobStatus.FAILED, RuntimeError(outcome.error or outcome.reason)
        self._callbacks.on_job_end(config=config, job_return=returned)
