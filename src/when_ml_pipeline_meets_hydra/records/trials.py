"""The trials of a search in the record of its run: ``trials.jsonl``, the best one first; secrets masked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.records.job_lines import encode
from when_ml_pipeline_meets_hydra.records.record_files import TRIALS
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass
from when_ml_pipeline_meets_hydra.storage import durable_files

if TYPE_CHECKING:
    from pathlib import Path

INFEASIBLE = "infeasible"  # the status of a trial that breaks a constraint
_FIELDS = ("status", "score", "values", "seconds", "error", "run", "job")
_OF_SEVERAL = ("scores", "is_on_front")  # only in lines of searches with several objectives


@dataclass(frozen=True, kw_only=True)
class RecordedTrial:
    """One trial of a study. ``run`` and ``job`` say where it was run, if it was.

    ``values`` maps the keys and groups that were drawn to their values, which are texts of overrides where the space
    has a list of them. Numbers below 0 are those of results that were known before the search. If there
    are several objectives, ``scores`` has all of them, ``score`` being the first one, and ``is_on_front`` says
    whether no other trial is better in each.
    """

    number: int
    status: str
    score: float | None
    values: Mapping[str, str | int | float]
    seconds: float
    error: str | None
    run: str | None
    job: int | None
    scores: Mapping[str, float] | None = None
    is_on_front: bool | None = None

    @property
    def name(self) -> str:
        """The number as text; ``earlier`` of a result that was known before the search."""
        return str(self.number) if self.number >= 0 else "earlier"

    def as_json(self) -> dict[str, Any]:
        """Return the trial as JSON values, ``trial`` being its number."""
        names = [*_FIELDS, *(name for name in _OF_SEVERAL if getattr(self, name) is not None)]
        return {"trial": self.number, **{name: getattr(self, name) for name in names}}


def write_trials(folder: Path, trials: Iterable[RecordedTrial]) -> None:
    """Write the trials into the folder of a record."""
    lines = (f"{encode(trial.as_json())}\n".encode(errors="backslashreplace") for trial in trials)
    durable_files.write_parts(folder / TRIALS, lines)


def trial_of(line: Mapping[str, Any]) -> RecordedTrial:
    """Return a trial from its line."""
    fields: dict[str, Any] = {name: line.get(name) for name in (*_FIELDS, *_OF_SEVERAL)}
    return RecordedTrial(number=line["trial"], **fields)


def drawn_keys(trials: Iterable[RecordedTrial]) -> tuple[str, ...]:
    """Return the keys that any of the trials has."""
    return tuple(dict.fromkeys(key for trial in trials for key in trial.values))


def numbers_by_job(trials: Iterable[RecordedTrial]) -> Callable[[str, Iterable[int]], tuple[int, ...]]:
    """Return a function from a run and some of its jobs to the numbers of the trials that these jobs have run."""
    found: dict[tuple[str | None, int | None], list[int]] = {}
    for trial in trials:
        found.setdefault((trial.run, trial.job), []).append(trial.number)
    return lambda run, jobs: tuple(sorted(number for job in jobs for number in found.get((run, job), ())))


def standing_of(trial: RecordedTrial) -> str:
    """Return ``front`` or ``infeasible``; empty of any other trial."""
    return "front" if trial.is_on_front else INFEASIBLE if trial.status == INFEASIBLE else ""
