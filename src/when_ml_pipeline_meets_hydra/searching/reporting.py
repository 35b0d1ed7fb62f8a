"""Reports a search: its trials in the record of the run, and its page; secrets are masked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.recording import Recording
from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial
from when_ml_pipeline_meets_hydra.searching.objective import Score
from when_ml_pipeline_meets_hydra.searching.results import Leaders
from when_ml_pipeline_meets_hydra.searching.session import Session
from when_ml_pipeline_meets_hydra.searching.settings import KEY, SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Space, Value
from when_ml_pipeline_meets_hydra.searching.study import Study, Trial
from when_ml_pipeline_meets_hydra.storage import durable_files

_PROGRAM = "wmh"
_COMMANDS = 50  # of trials on the Pareto front
_OF_THE_SEARCH = ("hydra/sweeper", f"{KEY}.")  # beginnings of overrides


class Reporter:
    """Writes the report of a search. ``bound`` are the jobs of some of its points, whose secrets are masked."""

    def __init__(self, session: Session, settings: SearchSettings, space: Space, score: Score, bound: Bound) -> None:
        self._session, self._settings, self._space, self._score = session, settings, space, score
        self._redactor, self._secret = bound.redactor, bound.secret_keys

    def facts(self, study: Study, leaders: Leaders, job: int | None) -> dict[str, Any]:
        """Return what the record says of a study; ``job`` is the last one of the best trial, if it has gone on."""
        ended, score, best = study.ended, self._score, leaders.best
        return {
            "objective": score.objective.content,
            "study": {
                "name": study.name,
                "runs": list(dict.fromkeys(t.run for t in ended if t.run)),
                "trials": study.count,
                "failed": sum(score.has_failed(t) for t in ended),
                "pruned": sum(t.is_pruned for t in ended),
                **({"infeasible": sum(score.broken(t) is not None for t in ended)} if score.constraints else {}),
                "best": best and best.facts,
                **({"front": [t.facts for t in leaders.front]} if score.further else {}),
                "job": job,
            },
        }

    def write(self, recording: Recording, study: Study) -> Path:
        """Write the trials of a study into the record and the page into the folder of the sweep; returns its path."""
        from when_ml_pipeline_meets_hydra.searching.page import FILE, Found, render

        trials = self._sorted(study)
        recording.write_trials(trials)
        done = [t.number for t in trials if t.status == "done"]
        leading = [t.number for t in trials if t.is_on_front] or done[:1]
        found = Found(
            study=study.name,
            sampler=self._sampler,
            goals={f"{self._score.stage}.{name}": way for name, way in self._score.goals.items()},
            constraints=[c.text for c in self._score.constraints],
            dimensions=self._space.dimensions,
            trials=trials,
            commands={number: self._command(study.trials[number]) for number in leading[:_COMMANDS]},
            runs=list(dict.fromkeys(t.run for t in sorted(trials, key=lambda t: t.number) if t.run)),
        )
        page = recording.sweep_folder / FILE
        durable_files.write(page, render(found).encode(errors="backslashreplace"))
        return page

    def _sorted(self, study: Study) -> list[RecordedTrial]:
        """The trials, the best ones first; then those that break a constraint, then those without a score."""
        numbers = sorted(study.trials, key=lambda n: (n < 0, n))
        leaders = Leaders(self._score)
        for number in study.trials:
            leaders.add(study.trials[number])
        front = [t.number for t in leaders.front]
        trials = [self._recorded(study.trials[number], study.worker, front) for number in numbers]
        sign = -1 if self._score.direction == "maximize" else 1
        places = {number: place for place, number in enumerate(front)}

        def place(trial: RecordedTrial) -> tuple[bool, bool, int, float]:
            is_broken = trial.status != "done"
            return trial.score is None, is_broken, places.get(trial.number, len(front)), sign * (trial.score or 0.0)

        return sorted(trials, key=place)

    def _recorded(self, trial: Trial, worker: str, front: Sequence[int]) -> RecordedTrial:
        missing, is_over = self._score.missing(trial), trial.has_ended and not trial.is_pruned
        score = None if missing or not is_over else self._score.of(trial)
        broken = self._score.broken(trial) if score is not None else None
        error = trial.error or broken or (f"it has no {missing[0]}" if missing and is_over else None)
        has_several = bool(self._score.further)
        return RecordedTrial(
            number=trial.number,
            status="infeasible" if broken else _status(trial, score, worker),
            score=score,
            values={key.lstrip("+~"): self._masked(key, value) for key, value in trial.values.items()},
            seconds=trial.seconds,
            error=error and self._redactor.text(error),
            run=trial.run,
            job=trial.job,
            scores=self._score.all_of(trial) if has_several and score is not None else None,
            is_on_front=trial.number in front if has_several else None,
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
