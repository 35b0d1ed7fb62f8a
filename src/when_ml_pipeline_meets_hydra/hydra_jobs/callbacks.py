"""Hydra's callbacks (``hydra.callbacks``), called for a run and for its jobs."""

from __future__ import annotations

from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing.values import first_line
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status


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
