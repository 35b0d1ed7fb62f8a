"""Plugins for other Hydra apps: a sweeper that plans a whole sweep, one that searches, launchers for steps, and the
scheme ``configs://`` of config stores.

An app with this program's config tree on its search path can sweep and search as the program itself does, by
``hydra/sweeper=plan`` or ``hydra/sweeper=optuna``. The program's own command line does so without Hydra's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from when_ml_pipeline_meets_hydra.composing.config_source import ConfigStoreSource

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.runs import Run

__all__ = ["ConfigStoreSource", "LocalLauncher", "OrchestratorLauncher", "PlanSweeper", "SearchSweeper"]


class _RunsPipeline:
    """Base of the sweepers and launchers: runs the pipeline with the overrides and option files of a Hydra app."""

    config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set the app's config; stages are run by their own functions, not by ``task_function``."""
        self.config = config

    def _run(self, overrides: Sequence[str], *, multirun: bool) -> Run:
        from when_ml_pipeline_meets_hydra.pipeline import run

        own, folders = self._own(overrides)
        return run(own, multirun=multirun, config_dirs=folders)

    def _own(self, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the overrides and the folders of option files of the program's own run."""
        assert self.config is not None
        hydra = self.config.hydra
        folders = [f"{s.schema}://{s.path}" for s in hydra.runtime.config_sources if s.provider in _APP_PROVIDERS]
        hydra_overrides = [str(o) for o in hydra.overrides.hydra if not str(o).startswith(_OWN_OVERRIDES)]
        # The app adds subcommands with '+c/…'; in this program's defaults list they exist already.
        job_overrides = [o.removeprefix("+") if o.startswith("+c/") else o for o in overrides]
        return [*hydra_overrides, *job_overrides], folders


# The providers of an app's own option files, and the overrides that do not apply to the program's own run.
_APP_PROVIDERS = ("command-line", "hydra.searchpath in main", "hydra.searchpath in command-line")
_OWN_OVERRIDES = ("hydra.searchpath=", "hydra.mode=", "hydra/sweeper=", "hydra/launcher=")


class PlanSweeper(_RunsPipeline, Sweeper):
    """Composes and checks all jobs before the first one starts; equal steps of them are one step."""

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.params = params

    def sweep(self, arguments: list[str]) -> Run:
        """Run the sweep. Raises ``BadInput`` with all problems before anything runs; exits if a step failed."""
        done = self._run(arguments, multirun=True)
        if done.exit_code:
            raise SystemExit(int(done.exit_code))
        return done


class SearchSweeper(_RunsPipeline, Sweeper):
    """Proposes trials within a budget, and goes on with the best one."""

    def __init__(self, library: str, params: Mapping[str, str] | None = None, **settings: object) -> None:
        super().__init__()
        self.library, self.params, self.settings = library, params, settings

    def sweep(self, arguments: list[str]) -> Run:
        """Run the search. Raises ``BadInput`` with all problems before anything runs; exits if it failed."""
        from when_ml_pipeline_meets_hydra.searching.search import search

        assert self.config is not None
        chosen = self.config.hydra.runtime.choices["hydra/sweeper"]
        own, folders = self._own(arguments)
        done = search([f"hydra/sweeper={chosen}", *own], config_dirs=folders)
        if done.exit_code:
            raise SystemExit(int(done.exit_code))
        return done


class _RunsJobs(_RunsPipeline, Launcher):
    """Base of the launchers."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs of another sweeper one after the other; steps that they share are computed once."""
        results = []
        for overrides in job_overrides:
            done = self._run(overrides, multirun=False)
            job = JobReturn()
            job.overrides, job.working_dir = list(overrides), str(done.record.folder)
            job.status = JobStatus.FAILED if done.exit_code else JobStatus.COMPLETED
            job.return_value = RuntimeError(f"run {done.record.id} {done.record.status}") if done.exit_code else done
            results.append(job)
        return results


class LocalLauncher(_RunsJobs):
    """Runs steps on this machine: in this process, or up to ``n_jobs`` at once in worker processes."""

    def __init__(self, n_jobs: int = 1) -> None:
        super().__init__()
        self.n_jobs = n_jobs


class OrchestratorLauncher(_RunsJobs):
    """Runs steps as nodes of another system: ``dagster``, ``flyte`` or ``metaflow``, with its options."""

    def __init__(self, system: str, **options: object) -> None:
        super().__init__()
        self.system, self.options = system, options

    def _run(self, overrides: Sequence[str], *, multirun: bool) -> Run:
        assert self.config is not None
        hydra = [o for o in self.config.hydra.overrides.hydra if str(o).lstrip("+").startswith("hydra/launcher=")]
        return super()._run([*hydra, *overrides], multirun=multirun)
