"""Reports a search: its trials in the record of the run, and its page; secrets are masked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.recording import Recording
from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial
from when_ml_pipeline_meets_hydra.searching.objective import Score
from when_ml_pipeline_meets_hydra.searching.session import Session, score_of
from when_ml_pipeline_meets_hydra.searching.settings import KEY, SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Space, Value
from when_ml_pipeline_meets_hydra.searching.study import Study, Trial
from when_ml_pipeline_meets_hydra.storage import durable_files

_PROGRAM = "wmh"
_OF_THE_SEARCH = ("hydra/sweeper", f"{KEY}.")  # beginnings of overrides


class Reporter:
    """Writes the report of a search. ``bound`` are the jobs of some of its points, whose secrets are masked."""

    def __init__(self, session: Session, settings: SearchSettings, space: Space, score: Score, bound: Bound) -> None:
        self._session, self._settings, self._space, self._score = session, settings, space, score
        self._redactor, self._secret = bound.redactor, bound.secret_keys

    def write(self, recording: Recording, study: Study) -> Path:
        """Write the trials of a study into the record and the page into the folder of the sweep; returns its path."""
        from when_ml_pipeline_meets_hydra.searching.page import FILE, Found, render

        trials = self._sorted(study)
        recording.write_trials(trials)
        first = trials[0].number if trials and trials[0].score is not None else None
        found = Found(
            study=study.name,
            sampler=self._sampler,
            metric=self._score.whole,
            direction=self._score.direction,
            dimensions=self._space.dimensions,
            trials=trials,
            command=None if first is None else self._command(study.trials[first]),
            runs=list(dict.fromkeys(t.run for t in sorted(trials, key=lambda t: t.number) if t.run)),
        )
        page = recording.sweep_folder / FILE
        durable_files.write(page, render(found).encode(errors="backslashreplace"))
        return page

    def _sorted(self, study: Study) -> list[RecordedTrial]:
        """The trials, the best one first; those without a score last."""
        numbers = sorted(study.trials, key=lambda n: (n < 0, n))
        trials = [self._recorded(study.trials[number], study.worker) for number in numbers]
        sign = -1 if self._score.direction == "maximize" else 1
        return sorted(trials, key=lambda t: (t.score is None, sign * (t.score or 0.0)))

    def _recorded(self, trial: Trial, worker: str) -> RecordedTrial:
        score = score_of(trial.metrics, self._score.metric)
        error = trial.error or (None if score is not None or not trial.has_ended else f"it has no {self._score.whole}")
        return RecordedTrial(
            number=trial.number,
            status=_status(trial, score, worker),
            score=score,
            values={key.lstrip("+~"): self._masked(key, value) for key, value in trial.values.items()},
            seconds=trial.seconds,
            error=error and self._redactor.text(error),
            run=trial.run,
            job=trial.job,
        )

    def _masked(self, key: str, value: Value) -> Value:
        line = f"{key}={value}"
        masked = self._redactor.override(line, self._secret)
        return value if masked == line else masked.partition("=")[2]

    @property
    def _sampler(self) -> str:
        name = str(self._settings.options.get("_target_", "")).rpartition(".")[2]
        return f"{self._settings.library} ({name})" if name else self._settings.library

    def _command(self, trial: Trial) -> str:
        """The command line that runs a trial."""
        fixed = [line for line in self._session.composer.fixed if not line.lstrip("+~").startswith(_OF_THE_SEARCH)]
        words = [self._redactor.override(line, self._secret) for line in (*fixed, *self._space.lines(trial.values))]
        return shlex.join([_PROGRAM, *words, *self._flags()])

    def _flags(self) -> Iterator[str]:
        if self._session.composer.jobs_per_point > 1:
            yield "--multirun"
        for folder in self._session.config_dirs:
            yield from ("--config-dir", folder)


def _status(trial: Trial, score: float | None, worker: str) -> str:
    if not trial.has_ended:
        return "interrupted" if trial.worker == worker else "running"
    return "pruned" if trial.is_pruned else "failed" if score is None else "done"
