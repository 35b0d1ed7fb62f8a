"""A run on a terminal: what has been said scrolls away above, and below stands what is going on."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from when_ml_pipeline_meets_hydra.cli.output.consoles import console
from when_ml_pipeline_meets_hydra.cli.output.formatting import STYLES, Parts, outcome_parts
from when_ml_pipeline_meets_hydra.cli.output.tables import Rows
from when_ml_pipeline_meets_hydra.cli.output.watching import PlainLines
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step
    from when_ml_pipeline_meets_hydra.runs import Prepared

_PAUSE = 0.1  # seconds between two pictures
_MANY = 50  # stored steps that get no line of their own
_SHOWN = 10  # running steps at the most, fewer in a low window


@dataclass(kw_only=True)
class Running:
    """A step that is being computed."""

    name: str
    label: str
    since: float = field(default_factory=time.monotonic)
    done: float = 0
    total: float | None = None
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.since

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None where it does not say."""
        return min(self.done / self.total, 1.0) if self.total else None


def seconds_left(
    queued: Mapping[str, int], running: Iterable[Running], took: Mapping[str, float], lanes: int
) -> float | None:
    """How long the rest takes, in seconds; None where nothing tells.

    ``queued`` and ``took`` map the name of a subcommand to how many of its steps wait, and to how long one takes;
    ``lanes`` steps run at a time.
    """
    if not {name for name, count in queued.items() if count} <= took.keys():
        return None
    total = sum(count * took[name] for name, count in queued.items() if count)
    for step in running:
        if step.share:
            total += step.seconds / step.share - step.seconds
        elif step.name in took:
            total += max(took[step.name] - step.seconds, 0)
        else:
            return None
    return total / max(lanes, 1)


class LiveView(PlainLines):
    """Shows counts, the running steps with their progress, and how long the rest will take.

    What is printed is collected and shown with the next picture, so that ten thousand quick steps cost little.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = console(stderr=True, soft_wrap=True)
        self.width = self._console.width
        self._scrolls = sys.stdout.isatty()  # otherwise stdout leads elsewhere, and is not mixed with the picture
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
        self._running: dict[str, Running] = {}
        self._ended: Counter[str] = Counter()
        self._times: dict[str, tuple[float, int]] = {}
        self._planned = self._lanes = 0
        self._quiet = self._numbered = False
        self._masks = Redactor()
        self._since = time.monotonic()
        self._closed = Event()
        self._thread = Thread(target=self._refresh, daemon=True)

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Begin to show what is going on."""
        steps = [s for s in prepared.plan.steps if s.action is not Action.NOT_NEEDED]
        self._planned = len(steps)
        self._queued = {s.key: s.call.name for s in steps if s.action is Action.RUN}
        self._quiet = len(steps) - len(self._queued) > _MANY
        self._numbered = prepared.request.multirun
        self._masks = prepared.shown_redactor
        super().run_started(prepared, folder)
        self._live.start()
        self._thread.start()

    def step_started(self, step: Step) -> None:
        """Show the step with the others that run."""
        with self._lock:
            super().step_started(step)
            self._queued.pop(step.key, None)
            label = f"#{step.jobs[0]} {step.call.name}" if self._numbered else step.call.name
            self._running[step.key] = Running(name=step.call.name, label=label)
            self._lanes = max(self._lanes, len(self._running))
            if self._planned == 1:
                self.say(((step.call.name, "bold"), (f": {step.reason}", "")))

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """Move the bar."""
        with self._lock:
            if found := self._running.get(step.key):
                found.done, found.total, found.message = done, total, message

    def step_printed(self, step: Step, text: str) -> None:
        """Pass on what the step printed; with several at once, say which one it was."""
        with self._lock:
            if self._scrolls and len(self._running) > 1 and (found := self._running.get(step.key)):
                for line in text.splitlines():
                    self.say(((f"{found.label} │ ", "dim"), (line, "")))
            else:
                self.print(text)

    def step_ended(self, outcome: Outcome) -> None:
        """Count the step, and say what became of it."""
        with self._lock:
            key, name, status = outcome.step.key, outcome.step.call.name, outcome.status
            self._queued.pop(key, None)
            self._running.pop(key, None)
            self._ended[status] += 1
            if status is Status.DONE:
                seconds, count = self._times.get(name, (0.0, 0))
                self._times[name] = seconds + outcome.seconds, count + 1
            self._announce(outcome.step.jobs[0])
            if not (self._quiet and status is Status.STORED):
                which = (f"#{outcome.step.jobs[0]} ", "dim") if self._numbered and self._lanes > 1 else ("", "")
                self.say((which, *outcome_parts(outcome)))

    def print(self, text: str) -> None:
        """Write whole lines to stdout: above the picture where that is the same terminal."""
        if self._scrolls:
            self._later(Text(text))
        else:
            super().print(text)

    def say(self, parts: Parts) -> None:
        """Write a line above the picture."""
        self._later(Text.assemble(*parts, "\n"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table as wide as the window."""
        self._console.print(Rows(columns, list(rows)), soft_wrap=False)

    def close(self) -> None:
        """Take the picture away."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._show()
            self._live.stop()

    def _later(self, text: Text) -> None:
        with self._lock:
            self._pending.append(text)
            if self._closed.is_set():
                self._show()

    def _refresh(self) -> None:
        while not self._closed.wait(_PAUSE):
            with self._lock:
                self._show()

    def _show(self) -> None:
        """Print what has been collected, and the picture anew."""
        try:
            if self._pending:
                self._console.print(*self._pending, sep="", end="")
                self._pending.clear()
            elif self._live.is_started:
                self._live.refresh()
        except OSError:  # the terminal has gone; the work goes on
            self._pending.clear()

    def __rich__(self) -> Group:
        """The picture of the moment."""
        grid = Table.grid(padding=(0, 1), expand=False)
        for column in ("label", "bar", "share", "time"):
            grid.add_column(no_wrap=True, overflow="ellipsis", justify="right" if column == "share" else "left")
        most = max(min(_SHOWN, self._console.height - 6), 1)
        running = list(self._running.values())
        for step in running[:most]:
            label = f"{step.label}: {self._masks.text(step.message)}" if step.message else step.label
            grid.add_row(*_row(label, step.share, step.seconds))
        if len(running) > most:
            grid.add_row(Text(f"and {len(running) - most} more", "dim"), "", "", "")
        if self._planned == 1:
            return Group(grid)
        ended = sum(self._ended.values())
        seconds = time.monotonic() - self._since
        grid.add_row(*_row(f"{ended} of {self._planned} steps", ended / max(self._planned, 1), seconds))
        return Group(grid, Text.assemble(*self._counts(), no_wrap=True, overflow="ellipsis"))

    def _counts(self) -> Iterator[tuple[str, str]]:
        waiting = self._planned - sum(self._ended.values()) - len(self._running)
        counts = {"queued": waiting, "running": len(self._running), **self._ended}
        took = {name: seconds / count for name, (seconds, count) in self._times.items()}
        left = seconds_left(Counter(self._queued.values()), self._running.values(), took, self._lanes)
        for status in ("queued", "running", "done", "stored", "failed", "skipped", "interrupted"):
            if counts.get(status):
                yield f"{counts[status]} {status}  ", STYLES.get(status, "")
        if left is not None and (waiting or self._running):
            yield f"about {_clock(left)} left", "bold"


def _row(label: str, share: float | None, seconds: float) -> tuple[Text, ProgressBar | str, str, str]:
    bar = "" if share is None else ProgressBar(total=1, completed=share, width=24)
    return Text(label), bar, "" if share is None else f"{share:.0%}", _clock(seconds)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
