"""The observers of a run at the terminal; this module has the one that prints plain lines, for pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Self

from when_ml_pipeline_meets_hydra.cli.output.formatting import (
    GOES_ON,
    Parts,
    counted,
    outcome_parts,
    plain,
    table_lines,
)
from when_ml_pipeline_meets_hydra.cli.output.streams import Stream
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.runs import RunObserver

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step
    from when_ml_pipeline_meets_hydra.runs import Prepared, Run


class Watcher(RunObserver):
    """An observer that has something to put away at the end, also where the run breaks off."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Put everything away."""


class PlainLines(Watcher):
    """As Hydra's users know it: job lines and what steps print on stdout, the rest on stderr.

    Steps may run at the same time, and in threads: what one of them prints stays in one piece.
    """

    width: int | None = None  # of the window, in characters; a pipe has none

    def __init__(self) -> None:
        self._out, self._err = Stream(sys.stdout), Stream(sys.stderr)
        self._lock = RLock()
        self._jobs: Iterator[tuple[int, str]] = iter(())
        self._next: tuple[int, str] | None = None
        self._is_sweep = False

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Say how many jobs there are, and where their record lies."""
        for note in notes(prepared):
            self.say(((note, "yellow"),))
        self._is_sweep = len({job.combination for job, _ in prepared.bound.calls}) > 1
        if prepared.request.multirun:
            self.print(f"Launching {len(prepared.bound.calls)} jobs locally\nSweep output dir : {_relative(folder)}\n")
            self._jobs = _job_lines(prepared)
            self._next = next(self._jobs, None)

    def step_started(self, step: Step) -> None:
        """Name the jobs up to that of the step."""
        self._announce(step.jobs[0])

    def step_waits(self, step: Step, holder: str) -> None:
        """Say for whom a step waits."""
        self.say(((f"{step.call.name}: waiting for {holder}, which computes the same step", "yellow"),))

    def step_printed(self, step: Step, text: str) -> None:
        """Pass on what the step printed."""
        with self._lock:
            self.print(text)

    def step_ended(self, outcome: Outcome) -> None:
        """Say what became of the step."""
        with self._lock:
            self._announce(outcome.step.jobs[0])
            self.say(outcome_parts(outcome))

    def run_ended(self, run: Run) -> None:
        """Name the run, compare its combinations, and name the logs of what failed."""
        self._announce(sys.maxsize)
        self.close()
        self.summarize(run)

    def summarize(self, run: Run) -> None:
        """The last words."""
        self.say(((f"run {run.record.id}: " + counted(o.status for o in run.outcomes), ""),))
        if self._is_sweep:
            self._compare(run)
        for o in () if self._is_sweep else run.outcomes:
            if o.error and o.log and o.status is not Status.INTERRUPTED:
                self.say((("  ", ""), (o.step.call.name, "bold"), (f" {o.status}, log: {o.log}", "")))
        if any(o.status is Status.INTERRUPTED for o in run.outcomes):
            self.say(((f"Interrupted. {GOES_ON}", "yellow"),))

    def _compare(self, run: Run) -> None:
        from when_ml_pipeline_meets_hydra.cli.output.sweeps import chosen_rows, compared, remarks

        comparison, note = compared(run.record)
        rows = chosen_rows(comparison)
        self.table(*comparison.table(rows, self.width))
        for parts in remarks(comparison, len(rows), run.record.id):
            self.say(parts)
        if note:
            self.say(((note, "yellow"),))

    def print(self, text: str) -> None:
        """Write whole lines to stdout."""
        self._out.write(text)

    def say(self, parts: Parts) -> None:
        """Write a line to stderr."""
        self._err.write(plain(parts) + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table to stderr."""
        self._err.write("".join(f"{line}\n" for line in table_lines(columns, rows)))

    def _announce(self, number: int) -> None:
        """Print the lines of the jobs up to ``number``, each once."""
        with self._lock:
            lines = []
            while self._next and self._next[0] <= number:
                lines.append(f"\t#{self._next[0]} : {self._next[1]}\n")
                self._next = next(self._jobs, None)
            if lines:
                self.print("".join(lines))


def notes(prepared: Prepared) -> Iterator[str]:
    """What a person may want to know before anything runs."""
    for line in prepared.unused:
        key = prepared.bound.redactor.override(line, prepared.bound.secret_keys)
        yield f"Note: {key} changes nothing here, no step of this run receives it"


def _job_lines(prepared: Prepared) -> Iterator[tuple[int, str]]:
    """The numbers and overrides of the jobs, as Hydra applies them: choices first."""
    masked = cache(lambda line: prepared.shown_redactor.override(line, prepared.bound.secret_keys))
    for job, _ in prepared.bound.calls:
        yield job.number, " ".join(map(masked, sorted(job.overrides, key=job.values.__contains__)))


def _relative(folder: Path) -> Path:
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
