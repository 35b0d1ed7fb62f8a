"""Interface of runners, which compute ready steps, and the runner in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, compute, log_interruption
from when_ml_pipeline_meets_hydra.execution.surroundings import exit_is_an_error, keep_random_states


class Runner(Protocol):
    """Computes tasks. Called from one thread: ``start`` while ``has_room``, then ``wait``."""

    @property
    def has_room(self) -> bool:
        """Whether another task can be started now."""

    @property
    def is_running(self) -> bool:
        """Whether tasks are running, or have ended and not been returned."""

    def start(self, task: Task) -> None:
        """Start a task; requires ``has_room``."""

    def wait(self, observer: Observer) -> Sequence[Outcome | Locked]:
        """Block until tasks end, and return their outcomes; meanwhile, pass output and progress on to the observer."""

    def interrupt(self) -> Sequence[Outcome]:
        """Stop all running tasks within 0.5 s; returns their outcomes."""

    def close(self) -> None:
        """Release all resources; the runner can be used again."""


class InProcess:
    """Computes one step at a time in this process."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._started = 0.0
        self._put_back: Callable[[], None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether no task is running."""
        return self._task is None

    @property
    def is_running(self) -> bool:
        """Whether a task has been started."""
        return self._task is not None

    def start(self, task: Task) -> None:
        """Store the task for ``wait``, which computes it."""
        self._task, self._started = task, time.perf_counter()
        self._put_back = self._put_back or keep_random_states()

    def wait(self, observer: Observer) -> Sequence[Outcome | Locked]:
        """Compute the task and return its outcome."""
        assert self._task is not None
        with exit_is_an_error():
            found = compute(self._task, observer)
        self._task = None
        return (found,)

    def interrupt(self) -> Sequence[Outcome]:
        """Return the outcome of the task if the interrupt came outside its function."""
        task, self._task = self._task, None
        return (log_interruption(task, self._started),) if task else ()

    def close(self) -> None:
        """Put back the random states of the caller, which may be a notebook."""
        if self._put_back:
            self._put_back()
            self._put_back = None
