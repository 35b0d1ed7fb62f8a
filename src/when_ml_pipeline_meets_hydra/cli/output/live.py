"""A run on a terminal: messages scroll above a live view of the running steps."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from when_ml_pipeline_meets_hydra.cli.output.consoles import console
from when_ml_pipeline_meets_hydra.cli.output.formatting import STYLES, Parts, metrics_text, outcome_parts
from when_ml_pipeline_meets_hydra.cli.output.plain_lines import PlainLines
from when_ml_pipeline_meets_hydra.cli.output.streams import own_stream
from when_ml_pipeline_meets_hydra.cli.output.tables import Rows
from when_ml_pipeline_meets_hydra.execution.outcomes import Status, format_clock
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step
    from when_ml_pipeline_meets_hydra.runs import Prepared, SearchState

_PAUSE = 0.1  # seconds between two refreshes
_MANY = 50  # steps that are stored, or depend on a choice: of more, those that do not run get no line of their own
_WITHOUT_WORK = (Status.STORED, Status.NOT_CHOSEN)
_SHOWN = 10  # running steps at most, fewer in a low window


def seconds_left(
    queued: Mapping[str, int], running: Iterable[Task], took: Mapping[str, float], lanes: int
) -> float | None:
    """Estimate the remaining time of a run, in seconds; None if there is nothing to estimate it from.

    ``queued`` maps the name of a subcommand to the number of its waiting steps, ``took`` to their mean duration (s);
    ``lanes`` steps run at a time.
    """
    if not {name for name, count in queued.items() if count} <= took.keys():
        return None
    total = sum(count * took[name] for name, count in queued.items() if count)
    for step in running:
        name, share, seconds = step.fields["name"], step.percentage / 100, step.elapsed or 0.0
        if share:
            total += seconds / share - seconds
        elif name in took:
            total += max(took[name] - seconds, 0)
        else:
            return None
    return total / max(lanes, 1)


class LiveView(PlainLines):
    """Shows counts, the running steps with their progress, and the remaining time.

    Messages are buffered until the next refresh, so that ten thousand quick steps cost little.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = console(soft_wrap=True, file=own_stream(sys.stderr))
        self.width = self._console.width
        self._scrolls = sys.stdout.isatty()  # otherwise stdout is redirected, and written to directly
        self._live = Live(
            self,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._pending: list[Text] = []
        self._queued: dict[str, str] = {}
        self._running: dict[str, TaskID] = {}
        self._elements: set[str] = set()
        self._messages: dict[str, str] = {}
        self._scores: dict[str, str] = {}
        self._kept: dict[str, tuple[Step, str]] = {}  # elements that have ended, and their output
        self._ended: Counter[str] = Counter()
        self._times: dict[str, tuple[float, int]] = {}
        self._planned = self._lanes = 0
        self._quiet = self._numbered = False
        self._masks = Redactor()
        self._search: SearchState | None = None
        self._columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(24),
            TaskProgressColumn("{task.percentage:>3.0f}%", markup=False, style=""),
            _Clock(),
        )
        self._bars = Progress(*self._columns, console=self._console, auto_refresh=False)
        self._total = self._bars.add_task("", total=None)
        self._closed = Event()
        self._thread = Thread(target=self._refresh, daemon=True)

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Start the live view."""
        self._add(prepared)
        self._numbered = prepared.request.multirun
        self._masks = prepared.shown_redactor
        super().run_started(prepared, folder)
        self._live.start()
        self._thread.start()

    def jobs_added(self, prepared: Prepared) -> None:
        """Count the steps of the jobs that a search has added."""
        with self._lock:
            self._add(prepared)
        super().jobs_added(prepared)

    def search_continues(self, state: SearchState) -> None:
        """Count the trials of a search in place of its steps."""
        with self._lock:
            self._search = state

    def _add(self, prepared: Prepared) -> None:
        steps = [s for s in prepared.plan.steps if s.action is not Action.NOT_NEEDED]
        self._planned += len(steps)
        self._bars.update(self._total, total=max(self._planned, 1))
        self._queued |= {s.key: s.call.name for s in steps if s.action is Action.RUN}
        self._quiet |= sum(s.action is not Action.RUN for s in steps) > _MANY

    def step_started(self, step: Step) -> None:
        """Add a progress bar for the step."""
        with self._lock:
            super().step_started(step)
            if step.call.element is None:
                self._print_common(step)
            else:
                self._elements.add(step.key)
            self._queued.pop(step.key, None)
            self._running[step.key] = self._bars.add_task(self._label(step), total=None, name=step.call.name)
            self._lanes = max(self._lanes, len(self._running))
            if self._planned == 1:
                self.message(((step.call.name, "bold"), (f": {step.reason}", "")))

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """Update the progress bar of the step."""
        with self._lock:
            if (bar := self._running.get(step.key)) is not None:
                self._messages[step.key] = self._masks.text(message)
                self._bars.update(bar, description=self._described(step), completed=done, total=total or None)

    def step_reported(self, step: Step, number: int, metrics: Mapping[str, float]) -> None:
        """Show the partial scores of the step beside its progress bar."""
        with self._lock:
            if (bar := self._running.get(step.key)) is not None:
                self._scores[step.key] = metrics_text(metrics)
                self._bars.update(bar, description=self._described(step))

    def step_printed(self, step: Step, text: str) -> None:
        """Print the output of the step, prefixed with its name while several steps run.

        That of an element is kept: what all elements print is printed once, the rest if the element fails. In a sweep,
        a step that gathers elements has one line, its outcome, besides notes.
        """
        with self._lock:
            if self._scrolls and step.call.element is not None:
                self._kept[step.key] = step, self._kept.get(step.key, (step, ""))[1] + text
            elif self._scrolls and self._numbered and self._gathers(step):  # the outcome has the metrics
                self.print("".join(f"{line}\n" for line in text.splitlines() if line.startswith("Note: ")))
            elif self._scrolls and len(self._running) > 1:
                for line in text.splitlines():
                    self.message(((f"{self._label(step)} │ ", "dim"), (line, "")))
            else:
                self.print(text)

    def step_ended(self, outcome: Outcome) -> None:
        """Count the step, and print its outcome."""
        with self._lock:
            key, name, status = outcome.step.key, outcome.step.call.name, outcome.status
            is_quiet = self._quiet and status in _WITHOUT_WORK
            if outcome.step.call.element is not None:
                is_quiet = status in (Status.DONE, Status.PRUNED, *_WITHOUT_WORK)
                if not is_quiet and key in self._kept:
                    self.print(self._kept.pop(key)[1])
            self._queued.pop(key, None)
            self._scores.pop(key, None)
            self._messages.pop(key, None)
            if (bar := self._running.pop(key, None)) is not None:
                self._bars.remove_task(bar)
            self._ended[status] += 1
            if status is Status.DONE:
                seconds, count = self._times.get(name, (0.0, 0))
                self._times[name] = seconds + outcome.seconds, count + 1
            self._print_job_lines(outcome.step.jobs[0])
            if not is_quiet:
                number = (f"#{outcome.step.jobs[0]} ", "dim") if self._numbered and self._lanes > 1 else ("", "")
                briefly = self._gathers(outcome.step) and status is Status.DONE
                self.message((number, *outcome_parts(outcome, briefly=briefly)))

    def _gathers(self, step: Step) -> bool:
        return step.call.element is None and not self._elements.isdisjoint(step.needs.values())

    def _print_common(self, step: Step) -> None:
        """Print what all elements that a step gathers have printed, such as remarks on their data."""
        printed: dict[str, list[list[str]]] = {}
        for key in step.needs.values():
            if key in self._kept:
                element, text = self._kept.pop(key)
                printed.setdefault(element.call.name, []).append(text.splitlines())
        for first, *others in printed.values():
            common = [line for line in dict.fromkeys(first) if all(line in lines for lines in others)]
            self.print("".join(f"{line}\n" for line in common))

    def print(self, text: str) -> None:
        """Write whole lines to stdout; above the live view if stdout is the terminal."""
        if self._scrolls:
            self._buffer(Text(text))
        else:
            super().print(text)

    def message(self, parts: Parts) -> None:
        """Write a line above the live view."""
        self._buffer(Text.assemble(*parts, "\n"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table as wide as the window."""
        self._console.print(Rows(columns, list(rows)), soft_wrap=False)

    def close(self) -> None:
        """Remove the live view."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._flush()
            self._live.stop()

    def _label(self, step: Step) -> str:
        return f"#{step.jobs[0]} {step.call.title}" if self._numbered else step.call.title

    def _described(self, step: Step) -> str:
        """What stands beside the progress bar of a step."""
        shown = " ".join(filter(None, (self._messages.get(step.key), self._scores.get(step.key))))
        return f"{self._label(step)}: {shown}" if shown else self._label(step)

    def _buffer(self, text: Text) -> None:
        with self._lock:
            self._pending.append(text)
            if self._closed.is_set():
                self._flush()

    def _refresh(self) -> None:
        while not self._closed.wait(_PAUSE):
            with self._lock:
                self._flush()

    def _flush(self) -> None:
        """Print the buffered messages, and refresh the live view."""
        try:
            if self._pending:
                self._console.print(*self._pending, sep="", end="")
                self._pending.clear()
            elif self._live.is_started:
                self._live.refresh()
        except OSError:  # the terminal has gone; the run continues
            self._pending.clear()

    def __rich__(self) -> Group:
        """The running steps, the total progress and the counts."""
        if self._search:
            self._show_search(self._search)
        else:
            ended = sum(self._ended.values())
            self._bars.update(self._total, description=f"{ended} of {self._planned} steps", completed=ended)
        total, *running = self._bars.tasks
        most = max(min(_SHOWN, self._console.height - 6), 1)
        table = self._bars.make_tasks_table(running[:most])
        if len(running) > most:
            table.add_row(Text(f"and {len(running) - most} more", "dim"))
        if self._planned == 1 and not self._search:
            return Group(table)
        table.add_row(*(column(total) for column in self._columns))
        return Group(table, Text.assemble(*self._counts(running), no_wrap=True, overflow="ellipsis"))

    def _show_search(self, search: SearchState) -> None:
        """Show how many trials have ended, or how much of the time is used if their number has no limit."""
        bar = self._bars.tasks[0]
        left = search.seconds_left(time.monotonic())
        used: float = bar.elapsed or 0.0
        total = None if left is None else used + left
        if search.most is not None:
            used, total = search.ended, float(search.most)
        self._bars.update(self._total, description=search.count, completed=used, total=total)

    def _of_search(self, search: SearchState) -> Iterator[tuple[str, str]]:
        if search.failed:
            yield f"{search.failed} failed  ", STYLES["failed"]
        if search.best:
            yield f"best {search.best}  ", STYLES["done"]
        if (left := search.seconds_left(time.monotonic())) is not None:
            yield f"about {format_clock(left)} left", "bold"

    def _counts(self, running: Sequence[Task]) -> Iterator[tuple[str, str]]:
        if self._search:
            yield from self._of_search(self._search)
            return
        waiting = self._planned - sum(self._ended.values()) - len(running)
        counts = {"queued": waiting, "running": len(running), **self._ended}
        took = {name: seconds / count for name, (seconds, count) in self._times.items()}
        left = seconds_left(Counter(self._queued.values()), running, took, self._lanes)
        for status in (
            "queued",
            "running",
            "done",
            "stored",
            "failed",
            "skipped",
            "pruned",
            "not chosen",
            "interrupted",
        ):
            if counts.get(status):
                yield f"{counts[status]} {status}  ", STYLES.get(status, "")
        if left is not None and (waiting or running):
            yield f"about {format_clock(left)} left", "bold"


class _Clock(ProgressColumn):
    """The elapsed time of a step."""

    def render(self, task: Task) -> Text:
        return Text(format_clock(task.elapsed or 0))
