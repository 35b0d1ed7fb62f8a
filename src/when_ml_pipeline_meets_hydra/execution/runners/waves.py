"""All steps that are ready at once, as one wave: for launchers that take a batch and give it back when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.errors import ExitCode, PipelineError
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.step import Busy, Task, failure, interrupted, written

Launched = tuple[Outcome | BaseException, str]  # what became of a task, and what its step printed
Launch = Callable[[Sequence[Task]], Sequence[Launched]]


class Waves:
    """Gives all steps that are ready to ``launch``, which calls ``compute`` for each of them, anywhere.

    It returns, in their order, what ``compute`` returned for each task, or the exception that its job ended with; and
    what the step printed (secrets masked).
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._tasks: list[Task] = []
        self._started = 0.0

    @property
    def has_room(self) -> bool:
        """A wave has no end."""
        return True

    @property
    def is_running(self) -> bool:
        """Whether there is a wave to launch."""
        return bool(self._tasks)

    def start(self, task: Task) -> None:
        """Put a task into the next wave. It waits as long as it has to for a run that computes the same step."""
        self._tasks.append(replace(task, patience=float("inf")))

    def wait(self, observer: Observer) -> Sequence[Outcome | Busy]:
        """Launch the wave; what its steps printed comes when it is over."""
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
        """All steps of the wave."""
        tasks, self._tasks = self._tasks, []
        return [interrupted(task, self._started) for task in tasks]

    def close(self) -> None:
        """There is nothing to let go of."""
        self._tasks = []

    def _outcome(self, task: Task, returned: Outcome | BaseException) -> Outcome:
        if isinstance(returned, Outcome):
            return replace(returned, step=task.step, log=written(task.log))
        if isinstance(returned, KeyboardInterrupt):
            return interrupted(task, self._started)
        text = f"its job ended with {type(returned).__name__}: {returned}".rstrip(": ")
        return failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, self._started)
