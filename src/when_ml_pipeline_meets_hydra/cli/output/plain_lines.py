"""The observer that prints plain lines, and the base class of all output observers."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Self

from when_ml_pipeline_meets_hydra.cli.output.formatting import (
    RESUME_HINT,
    Parts,
    counts_text,
    outcome_parts,
    table_lines,
)
from when_ml_pipeline_meets_hydra.cli.output.streams import Stream
from when_ml_pipeline_meets_hydra.composing import dotenv_file
from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.runs import ProgramObserver

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step
    from when_ml_pipeline_meets_hydra.runs import Prepared, Run


class OutputObserver(ProgramObserver):
    """An observer that is closed at the end, also after an error; a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release what the observer holds."""

    def note(self, text: str) -> None:
        """Show a note that belongs to no event of the run."""


class PlainLines(OutputObserver):
    """Prints, as Hydra does, job lines and the output of steps on stdout, and messages on stderr.

    Thread-safe: each message is written in one piece.
    """

    width: int | None = None  # of the window, in characters; a pipe has none

    def __init__(self) -> None:
        self._out, self._err = Stream(sys.stdout), Stream(sys.stderr)
        self._lock = RLock()
        self._jobs: Iterator[tuple[int, str]] = iter(())
        self._next: tuple[int, str] | None = None
        self._is_sweep = False

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Print the notes and, for a multirun, the number of jobs and the folder of the run."""
        for note in notes(prepared):
            self.message(((note, "yellow"),))
        self._is_sweep = prepared.search is not None or len({job.combination for job, _ in prepared.bound.calls}) > 1
        if prepared.request.multirun:
            orchestrator = prepared.bound.settings.orchestrator
            where = f"with {orchestrator.title}" if orchestrator else "locally"
            what = prepared.search or f"Launching {len(prepared.bound.calls)} jobs {where}"
            self.print(f"{what}\nSweep output dir : {_shown_path(folder)}\n")
            self._jobs = _job_lines(prepared)
            self._next = next(self._jobs, None)

    def jobs_added(self, prepared: Prepared) -> None:
        """Take the lines of the jobs that a search has added."""
        with self._lock:
            self._print_job_lines(sys.maxsize)
            self._jobs = _job_lines(prepared)
            self._next = next(self._jobs, None)

    def step_started(self, step: Step) -> None:
        """Print the job lines up to the job of the step."""
        self._print_job_lines(step.jobs[0])

    def step_waits(self, step: Step, holder: str) -> None:
        """Print which run computes the same step."""
        self.message(((f"{step.call.title}: waiting for {holder}, which computes the same step", "yellow"),))

    def step_printed(self, step: Step, text: str) -> None:
        """Print the output of the step."""
        with self._lock:
            self.print(text)

    def step_ended(self, outcome: Outcome) -> None:
        """Print the outcome of the step."""
        with self._lock:
            self._print_job_lines(outcome.step.jobs[0])
            self.message(outcome_parts(outcome))

    def run_ended(self, run: Run) -> None:
        """Print the remaining job lines and the summary."""
        self._print_job_lines(sys.maxsize)
        self.close()
        self.summarize(run)

    def summarize(self, run: Run) -> None:
        """Print the run id and counts, the table of a sweep, and the logs of failed steps."""
        self.message(((f"run {run.record.id}: " + counts_text(o.status for o in run.outcomes), ""),))
        if self._is_sweep:
            self._compare(run)
        if report := run.record.head.get("study", {}).get("report"):
            self.message(((f"report: {_shown_path(Path(report))}", ""),))
        for o in () if self._is_sweep else run.outcomes:
            if o.error and o.log and o.status is not Status.INTERRUPTED:
                self.message((("  ", ""), (o.step.call.title, "bold"), (f" {o.status}, log: {o.log}", "")))
        if any(o.status is Status.INTERRUPTED for o in run.outcomes):
            self.message(((f"Interrupted. {RESUME_HINT}", "yellow"),))

    def _compare(self, run: Run) -> None:
        from when_ml_pipeline_meets_hydra.cli.output.sweeps import footer, shown_rows, sort_combinations
        from when_ml_pipeline_meets_hydra.records.compare import compare, objective_of

        comparison, note = sort_combinations(compare([run.record]), objective_of(run.record))
        rows = shown_rows(comparison)
        fitting = comparison.fitting(rows, self.width)
        self.table(*fitting.table(rows, self.width))
        for parts in footer(comparison, len(rows), run.record.id):
            self.message(parts)
        if fitting is not comparison and len(rows) == len(comparison.rows):
            self.message(((f"All metrics: runs compare {run.record.id}", "dim"),))
        if note:
            self.message(((note, "yellow"),))

    def note(self, text: str) -> None:
        """Write a note to stderr."""
        self.message(((text, ""),))

    def print(self, text: str) -> None:
        """Write whole lines to stdout."""
        self._out.write(text)

    def message(self, parts: Parts) -> None:
        """Write a line to stderr."""
        self._err.write("".join(text for text, _ in parts) + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table to stderr."""
        self._err.write("".join(f"{line}\n" for line in table_lines(columns, rows)))

    def _print_job_lines(self, number: int) -> None:
        """Print the lines of the jobs up to ``number`` that have not been printed."""
        with self._lock:
            lines = []
            while self._next and self._next[0] <= number:
                lines.append(f"\t#{self._next[0]} : {self._next[1]}\n")
                self._next = next(self._jobs, None)
            if lines:
                self.print("".join(lines))


def _shown_path(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def notes(prepared: Prepared) -> Iterator[str]:
    """Yield the notes about a run that is about to start: plugins, .env, damaged results, unused overrides."""
    yield from map(prepared.bound.redactor.text, prepared.notes)
    if names := dotenv_file.used():
        yield f"Note: {dotenv_file.FILE} was read for {', '.join(names)}"
    for step in prepared.plan.steps:
        if step.damage:
            yield f"Note: the stored result of {step.call.title} is damaged and computed again ({step.damage})"
    for line in prepared.unused:
        key = prepared.bound.redactor.override(line, prepared.bound.secret_keys)
        hint = _of_a_store(line, prepared.request.overrides)
        yield f"Note: {key} changes nothing here, no step of this run receives it{hint}"


def _of_a_store(line: str, overrides: Iterable[str]) -> str:
    """A hint for ``+customer=acme`` in a folder with a config store, if the run reads none."""
    if os.environ.get(CONFIG_STORE) or not re.match(r"\+{1,2}[\w/]+=", line):
        return ""
    from when_ml_pipeline_meets_hydra.composing.store_entry import CONFIGURED, DEFAULT

    if not Path(DEFAULT).is_file() or any(CONFIGURED in override for override in overrides):
        return ""
    return f". An option in {DEFAULT} is read with {CONFIG_STORE}={DEFAULT}"


def _job_lines(prepared: Prepared) -> Iterator[tuple[int, str]]:
    """The numbers and overrides of the jobs, in the order in which Hydra applies them: choices first."""
    masked = cache(lambda line: prepared.shown_redactor.override(line, prepared.bound.secret_keys))
    for job, _ in prepared.bound.calls:
        yield job.number, " ".join(map(masked, sorted(job.overrides, key=job.values.__contains__)))
