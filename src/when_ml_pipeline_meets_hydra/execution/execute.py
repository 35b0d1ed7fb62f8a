"""Execute a plan: each step as soon as its dependencies have succeeded, loaded from the store or run by a runner."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from when_ml_pipeline_meets_hydra.binding.settings import Objective, OnError
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.pruning import Pruner, Pruning
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.execution.schedule import STOPS, Schedule
from when_ml_pipeline_meets_hydra.execution.signals import Interrupts
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, compute, log_interruption
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.storage.store import Store

RETRY_WAIT = 0.3  # s that a runner waits for the lock of a step before the step is deferred again


@dataclass(frozen=True, kw_only=True)
class ExecutionContext:
    """The store, folders, observer, redactors and runner with which a plan is executed.

    ``step_context(step)`` returns the context manager around the call of a step's function; it has to be picklable if
    steps run in other processes. ``on_forced_exit`` is called, from another thread, with the outcomes of the running
    steps just before the process exits because a step does not react to an interrupt. ``pruner`` stops combinations
    by their partial scores of the metric of ``objective``. With ``keeps_runner`` the caller closes the runner, after
    several plans.
    """

    store: Store
    run_id: str
    folder: Path
    observer: Observer
    redactor: Redactor
    shown_redactor: Redactor
    step_context: Callable[[Step], AbstractContextManager[object]] = lambda _: nullcontext()
    on_error: OnError = OnError.CONTINUE
    runner: Runner = field(default_factory=InProcess)
    keeps_runner: bool = False
    on_forced_exit: Callable[[Sequence[Outcome]], object] = lambda _: None
    objective: Objective | None = None
    pruner: Pruner | None = None


def execute(plan: Plan, context: ExecutionContext) -> Generator[Outcome, None, None]:
    """Run the steps of a plan, and yield their outcomes as they end.

    After a failure the dependent steps are skipped; with ``OnError.STOP``, all that have not started. Raises
    ``KeyboardInterrupt`` if the run is interrupted while no step is running.
    """
    yield from _Execution(plan, context).outcomes()


class _Execution:
    def __init__(self, plan: Plan, context: ExecutionContext) -> None:
        self._schedule, self._context = Schedule(plan), context
        self._pruning = Pruning(plan, context.objective, context.pruner)
        self._running: dict[str, tuple[Task, float]] = {}
        self._deferred: list[Task] = []
        self._reported_holders: dict[str, str] = {}
        self._is_stopping = False
        self._was_interrupted = False
        self._interrupts = Interrupts(self._on_forced_exit)

    def outcomes(self) -> Iterator[Outcome]:
        with self._interrupts:
            try:
                yield from self._run_all()
            except KeyboardInterrupt:
                for outcome in self._context.runner.interrupt():
                    yield self._end(outcome)
                self._interrupts.end_processes()
                if not self._was_interrupted:
                    raise
            finally:
                if not self._context.keeps_runner:
                    self._context.runner.close()

    def _run_all(self) -> Iterator[Outcome]:
        runner = self._context.runner
        while True:
            yield from self._start_ready()
            if not runner.is_running:
                return
            with self._interrupts.allowed():
                ended = runner.wait(self._context.observer)
            for found in ended:
                if isinstance(found, Locked):
                    self._defer(found)
                else:
                    yield self._end(found)
            if self._was_interrupted or self._interrupts.is_requested:
                raise KeyboardInterrupt

    def _start_ready(self) -> Iterator[Outcome]:
        """Start steps while the runner has room; those that another run is computing come last."""
        while first := self._schedule.first():
            step = self._decided(first)
            if isinstance(step, Outcome):
                self._schedule.take()
                yield self._end(step)
                if self._interrupts.is_requested:
                    raise KeyboardInterrupt
            elif self._context.runner.has_room:
                self._schedule.take()
                self._context.observer.step_started(step)
                self._start(self._task(step))
            else:
                return
        while self._deferred and self._is_stopping:
            yield self._end(Outcome(step=self._deferred.pop(0).step, status=Status.SKIPPED, reason=STOPS))
        for task in list(self._deferred):
            if reason := self._pruning.reason(task.step):
                self._deferred.remove(task)
                yield self._end(Outcome(step=task.step, status=Status.PRUNED, reason=reason))
        while self._deferred and self._context.runner.has_room:
            self._start(replace(self._deferred.pop(0), patience=RETRY_WAIT))

    def _decided(self, first: Step) -> Step | Outcome:
        """Return a ready step if it has to be computed, otherwise its outcome."""
        if first.action is Action.RUN and (reason := self._pruning.reason(first)):
            return Outcome(step=first, status=Status.PRUNED, reason=reason)
        step = self._schedule.decided(first)
        if isinstance(step, Outcome):
            return step
        is_chosen = first.action is Action.IF_BEST and step.is_storable and not step.is_forced
        if is_chosen and self._context.store.has(step.key) and not self._context.store.damage(step.key):
            step = replace(step, action=Action.STORED)
        if step.action is Action.STORED:
            found = compute(self._task(step), self._context.observer)
            assert isinstance(found, Outcome)
            return found
        return Outcome(step=step, status=Status.SKIPPED, reason=STOPS) if self._is_stopping else step

    def _start(self, task: Task) -> None:
        self._running[task.step.key] = (task, time.perf_counter())
        self._context.runner.start(task)

    def _defer(self, found: Locked) -> None:
        """Defer a step that another run is computing; report each such run once."""
        step = found.task.step
        del self._running[step.key]
        if found.holder and self._reported_holders.get(step.key) != found.holder:
            self._reported_holders[step.key] = found.holder
            self._context.observer.step_waits(step, found.holder)
        self._deferred.append(found.task)

    def _end(self, outcome: Outcome) -> Outcome:
        self._running.pop(outcome.step.key, None)
        self._pruning.ended(outcome)
        self._schedule.ended(outcome)
        self._was_interrupted |= outcome.status is Status.INTERRUPTED
        self._is_stopping |= outcome.status is Status.FAILED and self._context.on_error is OnError.STOP
        self._context.observer.step_ended(outcome)
        return outcome

    def _task(self, step: Step) -> Task:
        context, name = self._context, f"{step.call.stage}-{step.key[:12]}"
        return Task(
            step=step,
            received=self._schedule.received(step),
            store=context.store,
            run_id=context.run_id,
            log=context.folder / "logs" / f"{name}.log",
            out=context.folder / "effects" / name,
            redactor=context.redactor,
            shown_redactor=context.shown_redactor,
            context=context.step_context(step) if step.action is Action.RUN else nullcontext(),
            answer=self._pruning.answer_to(step),
        )

    def _on_forced_exit(self) -> None:
        outcomes = [log_interruption(task, started) for task, started in list(self._running.values())]
        for outcome in outcomes:
            self._context.observer.step_ended(outcome)
        self._context.on_forced_exit(outcomes)
