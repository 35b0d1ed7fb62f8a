"""The ``progress`` of a step: passes events on, keeps partial scores, and returns whether to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.execution.observers import Observer

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.planning.plan import Step

# Returns why a step has to stop after a report of its partial scores; None: it goes on.
Answer = Callable[[int, Mapping[str, float]], str | None]
MOST_POINTS = 100  # of a metric; of more, every second is kept, then every fourth, …


class StepProgress:
    """The ``Progress`` of one step. ``answer`` decides about reports; None: nobody does.

    ``stopped`` is the reason why the step has to stop, once it has been told to.
    """

    def __init__(self, step: Step, observer: Observer, answer: Answer | None) -> None:
        self._step, self._observer, self._answer = step, observer, answer
        self._series: dict[str, _Series] = {}
        self.stopped: str | None = None

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Pass progress on to the observer."""
        self._observer.step_progress(self._step, done, total, message)

    def report(self, step: int, /, **metrics: float) -> bool:
        """Keep partial scores, pass them on, and return whether to stop; see ``Progress.report``."""
        number, values = index(step), {name: float(value) for name, value in metrics.items()}
        for name, value in values.items():
            self._series.setdefault(name, _Series()).add(number, value)
        self._observer.step_reported(self._step, number, values)
        if self._answer and self.stopped is None:
            self.stopped = self._answer(number, values)
        return self.stopped is not None

    @property
    def partial_scores(self) -> Mapping[str, tuple[tuple[int, float], ...]] | None:
        """What was reported, by metric; None if nothing was."""
        return {name: series.points for name, series in self._series.items()} or None


class _Series:
    """Some of the points (step, value) of a metric, evenly spaced, and the last one."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, float]] = []
        self._last: tuple[int, float] = 0, 0.0
        self._count, self._every = 0, 1

    def add(self, step: int, value: float) -> None:
        self._last = step, value
        if self._count % self._every == 0:
            if len(self._kept) == MOST_POINTS:
                self._kept, self._every = self._kept[::2], self._every * 2
            if self._count % self._every == 0:
                self._kept.append(self._last)
        self._count += 1

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        more = [self._last] if self._kept[-1:] != [self._last] else []
        return (*self._kept, *more)
