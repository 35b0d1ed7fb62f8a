"""What other Hydra apps see of this program: a sweeper that plans a whole sweep, and the launcher of its steps.

An app whose configs are those of this program (its tree on the search path) sweeps as the program itself does, by
``hydra/sweeper=plan``. The program's own command line comes to the same plan without going through Hydra's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.runs import Run

__all__ = ["LocalLauncher", "PlanSweeper"]


class _OfRuns:
    """What both have in common: the run's config and where its option files lie."""

    config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over; the functions of the stages are called, not ``task_function``."""
        self.config = config

    def _run(self, overrides: Sequence[str], *, multirun: bool) -> Run:
        from when_ml_pipeline_meets_hydra.pipeline import run

        assert self.config is not None
        hydra = self.config.hydra
        folders = [f"{s.schema}://{s.path}" for s in hydra.runtime.config_sources if s.provider in _THEIRS]
        said = [str(o) for o in hydra.overrides.hydra if not str(o).startswith(_OURS)]
        # Hydra itself knows nothing of the subcommands' groups; here they are in the defaults list.
        words = [o.removeprefix("+") if o.startswith("+c/") else o for o in overrides]
        return run([*said, *words], multirun=multirun, config_dirs=folders)


# Where an app's own option files lie, besides the primary config; and what is decided by using these plugins.
_THEIRS = ("command-line", "hydra.searchpath in main", "hydra.searchpath in command-line")
_OURS = ("hydra.searchpath=", "hydra.mode=", "hydra/sweeper=", "hydra/launcher=")


class PlanSweeper(_OfRuns, Sweeper):
    """Composes and checks all jobs before the first one starts; equal steps of them are one step."""

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.params = params

    def sweep(self, arguments: list[str]) -> Run:
        """Run the sweep. Raises ``BadInput`` with all that is wrong before anything runs; ends with the exit code."""
        done = self._run(arguments, multirun=True)
        if done.exit_code:
            raise SystemExit(int(done.exit_code))
        return done


class LocalLauncher(_OfRuns, Launcher):
    """Runs steps on this machine: in this process, or ``n_jobs`` at once in processes of their own."""

    def __init__(self, n_jobs: int = 1) -> None:
        super().__init__()
        self.n_jobs = n_jobs

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs of another sweeper, one after the other; what they share is computed once all the same."""
        returned = []
        for overrides in job_overrides:
            done = self._run(overrides, multirun=False)
            job = JobReturn()
            job.overrides, job.working_dir = list(overrides), str(done.record.folder)
            job.status = JobStatus.FAILED if done.exit_code else JobStatus.COMPLETED
            job.return_value = RuntimeError(f"run {done.record.id} {done.record.status}") if done.exit_code else done
            returned.append(job)
        return returned
