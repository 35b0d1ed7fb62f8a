"""Hydra's view of the jobs of a run: each has an output folder, a ``HydraConfig`` and callbacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.binding.secret_keys import named_packages
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
from when_ml_pipeline_meets_hydra.hydra_jobs.context import JobContext
from when_ml_pipeline_meets_hydra.hydra_jobs.folders import JobFolders
from when_ml_pipeline_meets_hydra.planning.plan import Plan, Step

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from when_ml_pipeline_meets_hydra.hydra_jobs.callbacks import JobCallbacks


class Jobs:
    """The Hydra jobs of one run. ``hydra`` is Hydra's own config, unresolved; ``folder`` that of the run's record."""

    def __init__(self, bound: Bound, plan: Plan, hydra: Mapping[str, Any], folder: Path, *, is_multirun: bool) -> None:
        self._jobs: dict[int, Job] = {}
        self._requesting: dict[str, list[Job]] = {}
        self.extend(bound, plan)
        self._started: set[str] = set()
        self._is_multirun = is_multirun
        self._folders = JobFolders(
            composed=hydra,
            run_folder=folder,
            is_multirun=is_multirun,
            redactor=bound.redactor,
            secret_keys=bound.secret_keys,
            resolve=_resolve,
        )

    def extend(self, bound: Bound, plan: Plan) -> None:
        """Add jobs, with the steps that are theirs."""
        self._jobs |= {job.number: job for job, _ in bound.calls}
        for number, key in plan.requested.items():
            self._requesting.setdefault(key, []).append(self._jobs[number])

    @property
    def sweep_folder(self) -> Path:
        """The folder of all jobs of a sweep."""
        return self._folders.of_sweep(self.first)

    def start(self) -> None:
        """Write the config of a sweep, and call the callbacks.

        Raises ``BadInput`` if a job's folder or environment variables cannot be resolved, the folder cannot be written,
        or a callback cannot be instantiated.
        """
        if self._folders.hydra["job"].get("env_set") or not self._folders.are_own:
            for job in self._jobs.values():
                self._environment(job, self._folders.hydra_of(job))
        folder = self._folders.of(self.first)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self._is_multirun:
                self._folders.write_multirun(self.first)
        except OSError as error:
            key = "hydra.sweep.dir" if self._is_multirun else "hydra.run.dir"
            message = f"nothing can be written there ({error.strerror})"
            raise BadInput(Problem(key=key, value=str(folder), message=message)) from error
        if self._callbacks:
            self._callbacks.run_started()

    def context_of(self, step: Step) -> AbstractContextManager[object]:
        """Return the context manager around the call of a step's function; the jobs of the step start."""
        self._started.add(step.key)
        for job in self._requesting.get(step.key, ()):
            self._folders.write(job)
            if self._callbacks:
                self._callbacks.job_started(self.full_config(job), step.call.function)
        return self.job_context(step)

    def job_context(self, step: Step) -> AbstractContextManager[object]:
        """Return the context manager around the call of a step's function, of jobs that another process starts."""
        job = self._requesting.get(step.key, [self._jobs[step.jobs[0]]])[0]
        hydra = self._folders.hydra_of(job)
        return JobContext(hydra=hydra, config=job.config, environment=self._environment(job, hydra))

    def step_ended(self, outcome: Outcome) -> None:
        """End the jobs whose own step has ended."""
        for job in self._requesting.get(outcome.step.key, ()):
            self._folders.write(job)
            self._folders.link_log(job, outcome.log)
            if self._callbacks:
                config = self.full_config(job)
                if outcome.step.key not in self._started:
                    self._callbacks.job_started(config, outcome.step.call.function)
                self._callbacks.job_ended(config, outcome)

    def end(self) -> None:
        """Call the callbacks for the end of the run."""
        if self._callbacks:
            self._callbacks.run_ended()

    def full_config(self, job: Job) -> DictConfig:
        """Return the config of a job, including the node ``hydra``."""
        from when_ml_pipeline_meets_hydra.composing.hydra_config import whole_config

        return whole_config(job.config, self._folders.hydra_of(job))

    @property
    def first(self) -> Job:
        """The first job."""
        return next(iter(self._jobs.values()))

    def _environment(self, job: Job, hydra: Mapping[str, Any]) -> dict[str, str]:
        given = {name: os.environ[name] for name in hydra["job"]["env_copy"] if name in os.environ}
        return given | {n: _resolve(job.config, hydra, f"job.env_set.{n}") for n in hydra["job"]["env_set"] or ()}

    @cached_property
    def _callbacks(self) -> JobCallbacks | None:
        if not self._folders.hydra.get("callbacks"):
            return None
        from when_ml_pipeline_meets_hydra.hydra_jobs.callbacks import JobCallbacks

        allowed = allowed_packages(named_packages(self.first))
        return JobCallbacks(self.full_config(self.first), allowed, is_multirun=self._is_multirun)


def _resolve(config: Mapping[str, Any], hydra: Mapping[str, Any], key: str) -> str:
    from when_ml_pipeline_meets_hydra.composing.hydra_config import resolve  # loads Hydra, so only on demand

    return resolve(config, hydra, key)
