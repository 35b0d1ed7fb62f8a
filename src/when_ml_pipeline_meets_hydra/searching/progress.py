"""The progress of a search: the trials that have ended, the best one, and the time left, as facts and as text."""

from __future__ import annotations

import time

from when_ml_pipeline_meets_hydra.execution.outcomes import counted, format_clock, format_metric
from when_ml_pipeline_meets_hydra.runs import SearchState
from when_ml_pipeline_meets_hydra.searching.objective import Score
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.study import Trial


class SearchProgress:
    """Counts the trials of a study; ``front`` are the best ones so far, ``own`` the number of those of this run."""

    def __init__(self, score: Score, settings: SearchSettings) -> None:
        self.front: list[Trial] = []
        self.own = 0
        self._ended = self._failed = 0
        self._score, self._settings, self._started = score, settings, time.monotonic()

    def count(self, trial: Trial) -> None:
        """Count a trial that has ended."""
        self._ended += trial.number >= 0
        self._failed += self._score.has_failed(trial)

    @property
    def state(self) -> SearchState:
        """The facts, for observers."""
        settings, best = self._settings, next(iter(self.front), None)
        return SearchState(
            ended=self._ended,
            failed=self._failed,
            most=settings.most_trials,
            best=None if best is None else f"{self._scores(best)} of {named(best)}",
            deadline=None if settings.timeout is None else self._started + settings.timeout,
            pace=(time.monotonic() - self._started) / self.own if self.own else None,
        )

    def line(self, trial: Trial) -> str:
        """Return the line of a trial that has ended: its scores, the best one, and what is left."""
        if trial.is_pruned:
            return f"trial {trial.number} {trial.error}"
        if missing := self._score.missing(trial):
            return f"trial {trial.number} failed: {trial.error or f'it has no {missing[0]}'}"
        return f"trial {trial.number}: {self._scores(trial)}, {self._place(trial)}; {self._rest()}"

    def _place(self, trial: Trial) -> str:
        """How a trial compares with the others."""
        if broken := self._score.broken(trial):
            return f"infeasible ({broken})"
        if self._score.further:
            is_on_front = any(t.number == trial.number for t in self.front)
            return f"{'on' if is_on_front else 'behind'} the Pareto front ({counted(len(self.front), 'trial')})"
        best = self.front[0]
        return "the best so far" if best.number == trial.number else f"the best is {self._shown(best)} of {named(best)}"

    def _rest(self) -> str:
        state = self.state
        count, left = state.count.rpartition(" ")[0], state.seconds_left(time.monotonic())
        return f"{count}, {format_clock(left)} left" if left is not None and left >= 1 else count

    def _shown(self, trial: Trial) -> str:
        return format_metric(self._score.of(trial) or 0.0)

    def _scores(self, trial: Trial) -> str:
        return ", ".join(f"{name}={format_metric(value)}" for name, value in self._score.all_of(trial).items())


def named(trial: Trial) -> str:
    """Return what a trial is called: ``trial 7``."""
    return f"trial {trial.number}" if trial.number >= 0 else "an earlier run"
