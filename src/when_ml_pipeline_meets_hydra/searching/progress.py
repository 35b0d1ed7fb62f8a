"""The progress of a search: the trials that have ended, the best one, and the time left, as facts and as text."""

from __future__ import annotations

import time

from when_ml_pipeline_meets_hydra.execution.outcomes import format_clock, format_metric
from when_ml_pipeline_meets_hydra.runs import SearchState
from when_ml_pipeline_meets_hydra.searching.objective import Score
from when_ml_pipeline_meets_hydra.searching.session import score_of
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.study import Trial


class SearchProgress:
    """Counts the trials of a study; ``best`` is the best one so far, ``own`` the number of those of this run."""

    def __init__(self, score: Score, settings: SearchSettings) -> None:
        self.best: Trial | None = None
        self.own = 0
        self._ended = self._failed = 0
        self._score, self._settings, self._started = score, settings, time.monotonic()

    def count(self, trial: Trial) -> None:
        """Count a trial that has ended."""
        self._ended += trial.number >= 0
        self._failed += self.has_failed(trial)

    def has_failed(self, trial: Trial) -> bool:
        """Return whether an ended trial has no score, without having been pruned."""
        return not trial.is_pruned and score_of(trial.metrics, self._score.metric) is None

    @property
    def state(self) -> SearchState:
        """The facts, for observers."""
        settings, best = self._settings, self.best
        return SearchState(
            ended=self._ended,
            failed=self._failed,
            most=settings.most_trials,
            best=None if best is None else f"{self._score.whole}={self._shown(best)} of {_named(best)}",
            deadline=None if settings.timeout is None else self._started + settings.timeout,
            pace=(time.monotonic() - self._started) / self.own if self.own else None,
        )

    def line(self, trial: Trial) -> str:
        """Return the line of a trial that has ended: its score, the best one, and what is left."""
        if score_of(trial.metrics, self._score.metric) is None:
            if trial.is_pruned:
                return f"trial {trial.number} {trial.error}"
            return f"trial {trial.number} failed: {trial.error or f'it has no {self._score.whole}'}"
        best = self.best
        assert best is not None
        is_best = best.number == trial.number
        place = "the best so far" if is_best else f"the best is {self._shown(best)} of {_named(best)}"
        return f"trial {trial.number}: {self._score.whole}={self._shown(trial)}, {place}; {self._rest()}"

    def _rest(self) -> str:
        state = self.state
        count, left = state.count.rpartition(" ")[0], state.seconds_left(time.monotonic())
        return f"{count}, {format_clock(left)} left" if left is not None and left >= 1 else count

    def _shown(self, trial: Trial) -> str:
        score = score_of(trial.metrics, self._score.metric)
        return "" if score is None else format_metric(score)


def _named(trial: Trial) -> str:
    return f"trial {trial.number}" if trial.number >= 0 else "an earlier run"
