"""Pass the outcomes of steps on to the record of the run, to its Hydra jobs, and to its observer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.launchers import Orchestrator
from when_ml_pipeline_meets_hydra.binding.settings import OnError
from when_ml_pipeline_meets_hydra.composing.checkouts import facts_of
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem
from when_ml_pipeline_meets_hydra.execution.execute import ExecutionContext
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, exit_code_of
from when_ml_pipeline_meets_hydra.execution.pruning import Pruner
from when_ml_pipeline_meets_hydra.execution.runner import Runner
from when_ml_pipeline_meets_hydra.execution.runners import runner_for
from when_ml_pipeline_meets_hydra.hydra_jobs.jobs import Jobs
from when_ml_pipeline_meets_hydra.records.record import Record, Recorder
from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial, write_trials
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver, guarded

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.tracking.processes import TrackerProcesses


class Recording:
    """Writes the record of a run. Raises ``BadInput`` if the run cannot start, and leaves no files then.

    ``pruner`` stops combinations by their partial scores.
    """

    def __init__(self, prepared: Prepared, observer: RunObserver, pruner: Pruner | None = None) -> None:
        if pruner and prepared.bound.settings.objective.metric is None:
            message, remedy = "a pruner needs the metric of which it gets partial scores", "Set it, as to r2"
            raise BadInput(Problem(key="objective.metric", message=message, remedy=remedy))
        if prepared.bound.settings.orchestrator is not None:
            check_orchestrated(prepared, prepared.bound.settings.orchestrator)
        self._prepared, self._observer, self._pruner = prepared, guarded(observer), pruner
        self._recorder = _recorder(prepared)
        self._outcomes: list[Outcome] = []
        bound, folder, is_multirun = prepared.bound, self._recorder.folder, prepared.request.multirun
        self._jobs = Jobs(bound, prepared.plan, prepared.hydra, folder, is_multirun=is_multirun)
        self._added: list[Prepared] = []
        try:
            self._jobs.start()
        except BadInput:
            self._recorder.discard()
            raise
        self._trackers = tracker_processes(folder, bound.settings.trackers)
        self._observer.run_started(prepared, folder)

    @property
    def folder(self) -> Path:
        """The folder of the record."""
        return self._recorder.folder

    @property
    def sweep_folder(self) -> Path:
        """The folder of all jobs (``hydra.sweep.dir``)."""
        return self._jobs.sweep_folder

    def extend(self, prepared: Prepared) -> None:
        """Add jobs, which a search has proposed, to those of the run."""
        self._added.append(prepared)
        self._recorder.extend(prepared.bound, prepared.plan.requested)
        self._jobs.extend(prepared.bound, prepared.plan)
        self._observer.jobs_added(prepared)

    def write_trials(self, trials: Sequence[RecordedTrial]) -> None:
        """Write the trials of a search, the best one first."""
        write_trials(self.folder, trials)

    @property
    def execution_context(self) -> ExecutionContext:
        """The context in which the plan is executed."""
        prepared, settings = self._prepared, self._prepared.bound.settings
        return ExecutionContext(
            store=prepared.store,
            run_id=self._recorder.folder.name,
            folder=self._recorder.folder,
            observer=self._trackers.told(self._observer) if self._trackers else self._observer,
            redactor=prepared.bound.redactor,
            shown_redactor=prepared.shown_redactor,
            step_context=self._jobs.context_of,
            on_error=settings.on_error,
            runner=self._runner,
            on_forced_exit=self._close_on_forced_exit,
            objective=settings.objective,
            pruner=self._pruner,
        )

    @cached_property
    def _runner(self) -> Runner:
        prepared, settings = self._prepared, self._prepared.bound.settings
        if settings.orchestrator is not None:
            return graphs_of(prepared, settings.orchestrator, self._recorder.folder)
        n_jobs = settings.n_jobs
        return runner_for(n_jobs, lambda: self._jobs.full_config(self._jobs.first))

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a step."""
        self._recorder.add(outcome)
        self._jobs.step_ended(outcome)
        self._outcomes.append(outcome)

    def end(self, *, interrupted: bool = False, exit_code: ExitCode | None = None, **facts: Any) -> Run:
        """Close the record; returns the finished run.

        The exit code is that of its steps if none is given. ``facts`` are added to the head of the record.
        """
        self._jobs.end()
        code = exit_code_of(self._outcomes) if exit_code is None else exit_code
        return self._close(ExitCode.INTERRUPTED if interrupted else code, facts)

    def _close_on_forced_exit(self, running: Sequence[Outcome]) -> None:
        """Close the record while steps are running, because the process is about to exit."""
        for outcome in running:
            self._recorder.add(outcome)
        self._outcomes += running
        self._close(ExitCode.INTERRUPTED, is_forced=True)

    def _close(
        self, code: ExitCode, facts: Mapping[str, Any] = MappingProxyType({}), *, is_forced: bool = False
    ) -> Run:
        self._recorder.close(code, facts)
        record = Record(self._recorder.folder)
        prepared = self._prepared.joined(self._added)
        run = Run(prepared=prepared, record=record, outcomes=tuple(self._outcomes), exit_code=code)
        self._observer.run_ended(run)
        if self._trackers and not is_forced:
            self._trackers.wait(self._observer.note, is_interrupted=code is ExitCode.INTERRUPTED)
        return run


def check_orchestrated(prepared: Prepared, orchestrator: Orchestrator) -> None:
    """Raise ``BadInput`` if the steps cannot be composed again by overrides and key in another process."""
    from when_ml_pipeline_meets_hydra.execution.graph import unfit_steps

    title, bound = orchestrator.title, prepared.bound
    problems = list(unfit_steps(prepared.plan.to_run, {s.key: s for s in prepared.plan.steps}, title))
    if prepared.request.recorded is not None:
        message = f"a rerun repeats recorded configs, which no process of {title} can compose"
        problems.append(Problem(key="hydra/launcher", message=message, remedy="Use hydra/launcher=local"))
    for line in prepared.request.overrides if not orchestrator.takes_secrets else ():
        if bound.redactor.override(line, bound.secret_keys) != line:
            message, remedy = f"{title} would keep this secret", "Give it as ${oc.env:NAME}, which its tasks have"
            problems.append(Problem(key=line.partition("=")[0], message=message, remedy=remedy))
    if problems:
        raise BadInput(*problems)


def graphs_of(prepared: Prepared, orchestrator: Orchestrator, record: Path) -> Runner:
    """Return the runner that submits the steps of a run to an orchestrator."""
    from when_ml_pipeline_meets_hydra.execution.graph import masked_command
    from when_ml_pipeline_meets_hydra.execution.runners.graphs import Graphs
    from when_ml_pipeline_meets_hydra.records.promise import promise_of

    request, bound = prepared.request, prepared.bound
    command, environment = masked_command(
        request.overrides,
        lambda line: bound.redactor.override(line, bound.secret_keys),
        multirun=request.multirun,
        config_dirs=request.config_dirs,
    )
    return Graphs(
        orchestrator=orchestrator,
        plan=prepared.plan,
        command=command,
        environment=environment,
        promise=promise_of(prepared.plan),
        options=orchestrator.options,
        record=record,
        stops=bound.settings.on_error is OnError.STOP,
    )


def tracker_processes(record: Path, timeouts: Mapping[str, float]) -> TrackerProcesses | None:
    """Start the processes that send a record to trackers; None if no tracker is on."""
    if not timeouts:
        return None
    from when_ml_pipeline_meets_hydra.tracking.processes import TrackerProcesses

    return TrackerProcesses(record, timeouts)


def _recorder(prepared: Prepared) -> Recorder:
    try:
        requested = prepared.plan.requested
        stores = [facts_of(Path(folder)) for folder in prepared.checkouts.values()]
        return Recorder.of(prepared.home, prepared.request, prepared.bound, requested, prepared.search, stores)
    except OSError as error:
        message = f"nothing can be written there ({error.strerror}: {error.filename})"
        raise BadInput(Problem(key="home", value=str(prepared.home), message=message)) from error
