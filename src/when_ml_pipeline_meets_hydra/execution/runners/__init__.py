"""Where steps are computed: in this process, in worker processes, or by one of Hydra's launchers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner

if TYPE_CHECKING:
    from omegaconf import DictConfig


def runner_for(n_jobs: int | None, whole_config: Callable[[], DictConfig]) -> Runner:
    """The runner of ``n_jobs`` steps at once on this machine; None: that of the launcher in the config of the run."""
    if n_jobs == 1:
        return InProcess()
    if n_jobs is not None:
        from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers

        return Workers(n_jobs)
    from when_ml_pipeline_meets_hydra.execution.runners.hydra_launcher import HydraLauncher
    from when_ml_pipeline_meets_hydra.execution.runners.waves import Waves

    return Waves(HydraLauncher(whole_config()))
