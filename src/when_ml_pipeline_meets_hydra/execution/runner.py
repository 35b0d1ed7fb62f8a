"""Who computes the steps that are ready: a small interface, and the one that does it in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
from when_ml_pipeline_meets_hydra.execution.step import Busy, Task, compute, interrupted


class Runner(Protocol):
    """Computes tasks. It is driven by one thread: started while there is room, then waited for."""

    @property
    def has_room(self) -> bool:
        """Whether another task can be started now."""

    @property
    def is_running(self) -> bool:
        """Whether there is anything to wait for."""

    def start(self, task: Task) -> None:
        """Begin with a task; needs room."""

    def wait(self, observer: Observer) -> Sequence[Outcome | Busy]:
        """Return when tasks have ended; meanwhile tell what they print and how far they are."""

    def interrupt(self) -> Sequence[Outcome]:
        """End all that runs, within half a second; returns what was interrupted."""

    def close(self) -> None:
        """Let go of everything. It can be used again."""


class InProcess:
    """Computes one step at a time in this process."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._started = 0.0

    @property
    def has_room(self) -> bool:
        """Whether nothing is being computed."""
        return self._task is None

    @property
    def is_running(self) -> bool:
        """Whether a task is to be computed."""
        return self._task is not None

    def start(self, task: Task) -> None:
        """Take the task that ``wait`` computes."""
        self._task, self._started = task, time.perf_counter()

    def wait(self, observer: Observer) -> Sequence[Outcome | Busy]:
        """Compute the task."""
        assert self._task is not None
        found = compute(self._task, observer)
        self._task = None
        return (found,)

    def interrupt(self) -> Sequence[Outcome]:
        """The task, if it was interrupted outside of its function."""
        task, self._task = self._task, None
        return (interrupted(task, self._started),) if task else ()

    def close(self) -> None:
        """There is nothing to let go of."""
