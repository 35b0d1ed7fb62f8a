"""Runs all ready steps as one batch (a wave), for launchers that return when the whole batch is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.errors import ExitCode, PipelineError
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, log_failure, log_interruption

Launched = tuple[Outcome | BaseException, str]  # the result of a task, and the output of its step
Launch = Callable[[Sequence[Task]], Sequence[Launched]]


class Waves:
    """Passes all ready steps to ``launch``, which calls ``compute`` for each of them, in any process.

    It returns, for each task in order, the result of ``compute`` or the exception of its job, and the output of the
    step (secrets masked).
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._tasks: list[Task] = []
        self._started = 0.0

    @property
    def has_room(self) -> bool:
        """Always True: a wave has no maximum size."""
        return True

    @property
    def is_running(self) -> bool:
        """Whether there is a wave to launch."""
        return bool(self._tasks)

    def start(self, task: Task) -> None:
        """Add a task to the next wave. It waits without limit for another run that is computing the same step.

        Nothing reaches it while it runs, so there are no answers to its partial scores.
        """
        self._tasks.append(replace(task, patience=float("inf"), answer=None))

    def wait(self, observer: Observer) -> Sequence[Outcome | Locked]:
        """Launch the wave; the output of its steps is passed on when it is done."""
        self._started = time.perf_counter()
        returned = self._launch(tuple(self._tasks))
        if len(returned) != len(self._tasks):
            raise PipelineError(f"the launcher was given {len(self._tasks)} steps and returned {len(returned)}")
        tasks, self._tasks = self._tasks, []
        for task, (_, printed) in zip(tasks, returned, strict=True):
            if printed:
                observer.step_printed(task.step, printed)
        return [self._outcome(task, found) for task, (found, _) in zip(tasks, returned, strict=True)]

    def interrupt(self) -> Sequence[Outcome]:
        """Return the outcomes of all steps of the wave."""
        tasks, self._tasks = self._tasks, []
        return [log_interruption(task, self._started) for task in tasks]

    def close(self) -> None:
        """Drop the wave."""
        self._tasks = []

    def _outcome(self, task: Task, returned: Outcome | BaseException) -> Outcome:
        if isinstance(returned, Outcome):
            return replace(returned, step=task.step, log=task.written_log)
        if isinstance(returned, KeyboardInterrupt):
            return log_interruption(task, self._started)
        text = f"its job ended with {type(returned).__name__}: {returned}".rstrip(": ")
        return log_failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, self._started)
