"""What a person sees of a run while it runs: job lines and what steps print on stdout, the rest on stderr."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TextIO

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from when_ml_pipeline_meets_hydra.cli.consoles import console
from when_ml_pipeline_meets_hydra.execute import Outcome
from when_ml_pipeline_meets_hydra.pipeline import Prepared, Run, RunObserver
from when_ml_pipeline_meets_hydra.plan import Step
from when_ml_pipeline_meets_hydra.report import OutcomeLine, Summary


class Terminal(RunObserver):
    """Prints as Hydra's users know it, and shows progress where there is a terminal."""

    def __init__(self) -> None:
        # While a step runs, sys.stdout and sys.stderr lead to its log: keep the real ones.
        self._out: TextIO = sys.stdout
        self._console = console(stderr=True, soft_wrap=True)
        self._jobs: list[tuple[int, str]] = []
        self._bar: tuple[Progress, TaskID] | None = None

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Say how many jobs there are, and where their record lies."""
        for line in prepared.unused:
            key = prepared.bound.redactor.override(line, prepared.bound.secret_keys)
            self._console.print(Text(f"Note: {key} changes nothing here, no step of this run receives it", "yellow"))
        if prepared.request.multirun:
            self._print(f"Launching {len(prepared.bound.calls)} jobs locally\n")
            self._print(f"Sweep output dir : {_relative(folder)}\n")
            masks, keys = prepared.shown_redactor, prepared.bound.secret_keys
            for job, _ in prepared.bound.calls:
                words = sorted(job.overrides, key=job.values.__contains__)  # as Hydra applies them: choices first
                self._jobs.append((job.number, " ".join(masks.override(o, keys) for o in words)))

    def step_started(self, step: Step) -> None:
        """Say which step comes, and why it runs."""
        self._announce(step.jobs[0])
        self._status(Text.assemble((step.call.name, "bold"), f": {step.reason}"))

    def step_waits(self, step: Step, holder: str) -> None:
        """Say for whom a step waits."""
        self._console.print(Text(f"{step.call.name}: waiting for {holder}, which computes the same step", "yellow"))

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """Move the bar."""
        if not self._console.is_terminal:
            return
        if self._bar is None:
            texts = TextColumn("  {task.description}"), TextColumn("{task.percentage:>3.0f} %")
            columns = texts[0], BarColumn(), texts[1], TimeRemainingColumn()
            bar = Progress(*columns, console=self._console, transient=True, redirect_stdout=False)
            bar.start()
            self._bar = bar, bar.add_task(step.call.name, total=total)
        progress, task = self._bar
        progress.update(task, completed=done, total=total, description=message or step.call.name)

    def step_printed(self, step: Step, text: str) -> None:
        """Pass on what the step printed."""
        self._clear()
        self._print(text)

    def step_ended(self, outcome: Outcome) -> None:
        """Say what became of the step."""
        self._announce(outcome.step.jobs[0])
        self._clear()
        self._console.print(OutcomeLine(outcome))

    def run_ended(self, run: Run) -> None:
        """Name the run, and the logs of what failed."""
        self._announce(sys.maxsize)
        self._console.print(Summary(run.outcomes, run.record.id))

    def _announce(self, number: int) -> None:
        """Print the lines of the jobs up to ``number``, each once."""
        self._clear()
        while self._jobs and self._jobs[0][0] <= number:
            first, line = self._jobs.pop(0)
            self._print(f"\t#{first} : {line}\n")

    def _print(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            self._out = io.StringIO()  # nobody reads any more; the work goes on

    def _status(self, text: Text) -> None:
        if self._console.is_terminal:
            self._console.print(text)

    def _clear(self) -> None:
        if self._bar:
            self._bar[0].stop()
            self._bar = None


def _relative(folder: Path) -> Path:
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
