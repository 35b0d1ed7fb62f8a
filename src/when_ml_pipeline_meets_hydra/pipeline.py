"""The whole way of a run, in order; the command line is its first user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.bind import Bound, Call, bind, check
from when_ml_pipeline_meets_hydra.binding.options import idle_choices
from when_ml_pipeline_meets_hydra.binding.settings import HINTS, Settings, settings_of
from when_ml_pipeline_meets_hydra.cache import compositions
from when_ml_pipeline_meets_hydra.composing.job import Composed
from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, PipelineError, Problem
from when_ml_pipeline_meets_hydra.execution.execute import Outcome, Surroundings, execute
from when_ml_pipeline_meets_hydra.execution.observers import RunObserver
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.hydra_jobs.jobs import Jobs
from when_ml_pipeline_meets_hydra.masking import Redactor, Unmasked
from when_ml_pipeline_meets_hydra.planning.plan import Plan, make_plan
from when_ml_pipeline_meets_hydra.records.record import Record, Recorder, Request, exit_code_of
from when_ml_pipeline_meets_hydra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that is known before anything runs.

    ``search_path`` is where option files were looked for; ``is_constant`` says that the same words always come to the
    same configs, unless files or environment variables change.
    """

    request: Request
    bound: Bound
    plan: Plan
    settings: Settings
    hydra: Mapping[str, Any]
    search_path: tuple[str, ...]
    is_constant: bool

    @property
    def home(self) -> Path:
        """Where everything is kept."""
        return self.settings.home

    @property
    def store(self) -> Store:
        """Where its results are kept."""
        return Store(self.home / "store")

    @cached_property
    def all_calls(self) -> tuple[Call, ...]:
        """The calls of all jobs and those that they need, each once."""
        return _all_calls(self.bound)

    @property
    def unused(self) -> tuple[str, ...]:
        """The overrides that change nothing here, because no step of any job receives their key."""
        received = _received(self.all_calls) | HINTS.keys()
        lines = dict.fromkeys(line for job, _ in self.bound.calls for line in job.values)
        return tuple(o for o in lines if re.split(r"[.=]", o.lstrip("+~"), maxsplit=1)[0] not in received)

    @property
    def shown_redactor(self) -> Redactor:
        """What masks secrets on the terminal; in files they are always masked."""
        return Unmasked() if self.settings.show_secrets else self.bound.redactor


@dataclass(frozen=True, kw_only=True)
class Run:
    """One invocation: what became of each step, and its record."""

    record: Record
    outcomes: tuple[Outcome, ...]
    exit_code: ExitCode

    @property
    def metrics(self) -> dict[str, float]:
        """``<stage>.<metric>`` → value."""
        return self.record.metrics

    def artifact(self, stage: str) -> Artifact:
        """What the (last) step of ``stage`` returned. Raises ``KeyError`` where it returned nothing."""
        for outcome in reversed(self.outcomes):
            if outcome.step.call.stage == stage and outcome.artifact:
                return outcome.artifact
        raise KeyError(stage)


def run(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dirs: Sequence[str | Path] = (),
    observer: RunObserver | None = None,
) -> Run:
    """Run what the overrides ask for, and all that it needs.

    ``overrides`` follow Hydra's grammar (``["c=modeling", "modeling/param=small"]``); with ``multirun`` a list of
    values makes a job of each. A step that fails is in the ``Run`` (and its ``exit_code``); what a person can put
    right raises ``BadInput`` before anything runs.
    """
    return run_prepared(prepare(overrides, multirun=multirun, config_dirs=config_dirs), observer or RunObserver())


def run_prepared(prepared: Prepared, observer: RunObserver) -> Run:
    """Run what was prepared."""
    recorder, is_multirun = _recorder(prepared), prepared.request.multirun
    jobs = Jobs(prepared.bound, prepared.plan, prepared.hydra, recorder.folder, is_multirun=is_multirun)
    outcomes: list[Outcome] = []

    def end(code: ExitCode, running: Sequence[Outcome] = ()) -> Run:
        for outcome in running:
            recorder.add(outcome)
        recorder.close(code)
        done = Run(record=Record(recorder.folder), outcomes=(*outcomes, *running), exit_code=code)
        observer.run_ended(done)
        return done

    around = Surroundings(
        store=prepared.store,
        run_id=recorder.folder.name,
        folder=recorder.folder,
        observer=observer,
        redactor=prepared.bound.redactor,
        shown_redactor=prepared.shown_redactor,
        context=jobs.around,
        on_error=prepared.settings.on_error,
        runner=_runner(prepared, jobs),
        at_the_end=lambda running: end(ExitCode.INTERRUPTED, running),
    )
    try:
        jobs.begin()
    except BadInput:
        recorder.discard()
        raise
    observer.run_started(prepared, recorder.folder)
    try:
        for outcome in execute(prepared.plan, around):
            recorder.add(outcome)
            jobs.ended(outcome)
            outcomes.append(outcome)
        code = exit_code_of(outcomes)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    jobs.over()
    return end(code)


def _runner(prepared: Prepared, jobs: Jobs) -> Runner:
    n_jobs = prepared.settings.n_jobs
    if n_jobs is not None:
        if n_jobs == 1:
            return InProcess()
        from when_ml_pipeline_meets_hydra.execution.runners.processes import Workers

        return Workers(n_jobs)
    from when_ml_pipeline_meets_hydra.execution.runners.waves import Waves
    from when_ml_pipeline_meets_hydra.hydra_jobs.callbacks import HydraLauncher

    return Waves(HydraLauncher(jobs.whole(jobs.first)))


def _recorder(prepared: Prepared) -> Recorder:
    try:
        return Recorder.of(prepared.home, prepared.request, prepared.bound, prepared.plan.asked)
    except OSError as error:
        message = f"nothing can be written there ({error.strerror}: {error.filename})"
        raise BadInput(Problem(key="home", value=str(prepared.home), message=message)) from error


def _all_calls(bound: Bound) -> tuple[Call, ...]:
    found: dict[int, Call] = {}
    todo = [call for _, call in bound.calls]
    while todo:
        call = todo.pop()
        if id(call) not in found:
            found[id(call)] = call
            todo += call.needs.values()
    return tuple(found.values())


def _received(calls: Iterable[Call]) -> set[str]:
    """The config keys that calls receive."""
    return {key for call in calls for key in call.received}


def prepare(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str | Path] = ()) -> Prepared:
    """Compose, bind, plan and check; runs nothing. Raises ``BadInput`` with all that is wrong."""
    request = Request(overrides=tuple(overrides), multirun=multirun, config_dirs=tuple(map(str, config_dirs)))
    composed = compositions.composed(request)
    problems = list(composed.problems)
    settings = settings_of(composed, problems)
    bound = bind(replace(composed, problems=tuple(problems)))
    if idle := list(idle_choices(composed, _received(_all_calls(bound)))):
        raise BadInput(*idle)
    assert settings is not None, "bind raises what is wrong"
    if settings.n_jobs is None:
        _check_launcher(composed)
    store = Store(settings.home / "store")
    plan = make_plan(bound.calls, is_stored=store.has, last_inputs=store.last_inputs, force=settings.force)
    jobs = {job.number: job for job, _ in bound.calls}
    check(((jobs[step.jobs[0]], step.call) for step in plan.to_run), bound.redactor)
    return Prepared(
        request=request,
        bound=bound,
        plan=plan,
        settings=settings,
        hydra=composed.hydra,
        search_path=composed.search_path,
        is_constant=composed.is_constant,
    )


def _check_launcher(composed: Composed) -> None:
    from when_ml_pipeline_meets_hydra.hydra_jobs.callbacks import launcher_problem, whole_config

    if problem := launcher_problem(whole_config(composed.jobs[0].config, composed.hydra)):
        raise BadInput(problem)


__all__ = ["BadInput", "PipelineError", "Run", "RunObserver", "prepare", "run"]
