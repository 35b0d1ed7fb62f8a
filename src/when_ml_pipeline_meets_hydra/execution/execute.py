"""Steps → outcomes: each as soon as all that it comes after has succeeded; stored, or computed by a runner."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from when_ml_pipeline_meets_hydra.binding.settings import OnError
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.runner import InProcess, Runner
from when_ml_pipeline_meets_hydra.execution.schedule import STOPS, Schedule
from when_ml_pipeline_meets_hydra.execution.signals import Interrupts
from when_ml_pipeline_meets_hydra.execution.step import Busy, Task, compute, interrupted
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.storage.store import Store

PATIENCE = 0.3  # s that a runner waits for a step of another run before it is asked again


def _no_context(step: Step) -> AbstractContextManager[object]:
    return nullcontext()


def _nobody(outcomes: Sequence[Outcome]) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What execution needs besides the plan: where to store and log, whom to tell, what to mask, who computes.

    ``context(step)`` returns what is entered around the call of a step's function; it is pickled where steps run in
    other processes. ``at_the_end`` is told of the steps that were running when the process has to end at once (a step
    did not let itself be interrupted): it is called from another thread, and is the last that happens.
    """

    store: Store
    run_id: str
    folder: Path
    observer: Observer
    redactor: Redactor
    shown_redactor: Redactor
    context: Callable[[Step], AbstractContextManager[object]] = _no_context
    on_error: OnError = OnError.CONTINUE
    runner: Runner = field(default_factory=InProcess)
    at_the_end: Callable[[Sequence[Outcome]], object] = _nobody


def execute(plan: Plan, around: Surroundings) -> Generator[Outcome, None, None]:
    """Run the steps of a plan; their outcomes come as they end.

    A step that fails makes those skipped that come after it, and with ``OnError.STOP`` all that have not begun. Raises
    ``KeyboardInterrupt`` where the run was interrupted while no step was running.
    """
    yield from _Execution(plan, around).outcomes()


class _Execution:
    """One execution of a plan."""

    def __init__(self, plan: Plan, around: Surroundings) -> None:
        self._schedule, self._around = Schedule(plan), around
        self._running: dict[str, tuple[Task, float]] = {}
        self._busy: list[Task] = []
        self._waits_for: dict[str, str] = {}
        self._is_stopping = False
        self._was_interrupted = False
        self._interrupts = Interrupts(self._at_the_end)

    def outcomes(self) -> Iterator[Outcome]:
        with self._interrupts:
            try:
                yield from self._until_nothing_is_left()
            except KeyboardInterrupt:
                for outcome in self._around.runner.interrupt():
                    yield self._end(outcome)
                self._interrupts.end_processes()
                if not self._was_interrupted:
                    raise
            finally:
                self._around.runner.close()

    def _until_nothing_is_left(self) -> Iterator[Outcome]:
        runner = self._around.runner
        while True:
            yield from self._start_what_can()
            if not runner.is_running:
                return
            with self._interrupts.allowed():
                ended = runner.wait(self._around.observer)
            for found in ended:
                if isinstance(found, Busy):
                    self._come_back(found)
                else:
                    yield self._end(found)
            if self._was_interrupted or self._interrupts.asked:
                raise KeyboardInterrupt

    def _start_what_can(self) -> Iterator[Outcome]:
        """Start as many steps as there is room for; those that another run computes come last."""
        while step := self._schedule.first():
            if reason := self._schedule.reason_to_skip(step):
                outcome = Outcome(step=step, status=Status.SKIPPED, reason=reason)
            elif step.action is Action.STORED:
                found = compute(self._task(step), self._around.observer)
                assert isinstance(found, Outcome)
                outcome = found
            elif self._is_stopping:
                outcome = Outcome(step=step, status=Status.SKIPPED, reason=STOPS)
            elif self._around.runner.has_room:
                self._schedule.take()
                self._around.observer.step_started(step)
                self._start(self._task(step))
                continue
            else:
                return
            self._schedule.take()
            yield self._end(outcome)
            if self._interrupts.asked:
                raise KeyboardInterrupt
        while self._busy and self._is_stopping:
            yield self._end(Outcome(step=self._busy.pop(0).step, status=Status.SKIPPED, reason=STOPS))
        while self._busy and self._around.runner.has_room:
            self._start(replace(self._busy.pop(0), patience=PATIENCE))

    def _start(self, task: Task) -> None:
        self._running[task.step.key] = (task, time.perf_counter())
        self._around.runner.start(task)

    def _come_back(self, found: Busy) -> None:
        """Put a step off that another run computes; say once for which."""
        step = found.task.step
        del self._running[step.key]
        if found.holder and self._waits_for.get(step.key) != found.holder:
            self._waits_for[step.key] = found.holder
            self._around.observer.step_waits(step, found.holder)
        self._busy.append(found.task)

    def _end(self, outcome: Outcome) -> Outcome:
        self._running.pop(outcome.step.key, None)
        self._schedule.ended(outcome)
        self._was_interrupted |= outcome.status is Status.INTERRUPTED
        self._is_stopping |= outcome.status is Status.FAILED and self._around.on_error is OnError.STOP
        self._around.observer.step_ended(outcome)
        return outcome

    def _task(self, step: Step) -> Task:
        around, name = self._around, f"{step.call.stage}-{step.key[:12]}"
        return Task(
            step=step,
            received=self._schedule.received(step),
            store=around.store,
            run_id=around.run_id,
            log=around.folder / "logs" / f"{name}.log",
            out=around.folder / "effects" / name,
            redactor=around.redactor,
            shown_redactor=around.shown_redactor,
            context=around.context(step) if step.action is Action.RUN else nullcontext(),
        )

    def _at_the_end(self) -> None:
        outcomes = [interrupted(task, started) for task, started in list(self._running.values())]
        for outcome in outcomes:
            self._around.observer.step_ended(outcome)
        self._around.at_the_end(outcomes)

