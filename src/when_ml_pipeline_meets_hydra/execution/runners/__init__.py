"""Runners, which compute steps: in this process, in worker processes, or with a Hydra launcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner

if TYPE_CHECKING:
    from omegaconf import DictConfig


def runner_for(n_jobs: int | None, config_of_run: Callable[[], DictConfig]) -> Runner:
    """Return the runner for ``n_jobs`` parallel steps on this machine; None: for the launcher in the run's config."""
    if n_jobs == 1:
        return InProcess()
    if n_jobs is not None:
        from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers

        return Workers(n_jobs)
    from when_ml_pipeline_meets_hydra.execution.runners.hydra_launcher import HydraLauncher
    from when_ml_pipeline_meets_hydra.execution.runners.waves import Waves

    return Waves(HydraLauncher(config_of_run()))
