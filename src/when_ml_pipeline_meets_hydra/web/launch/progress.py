"""The progress of a launched run, from the lines of JSON that it prints; secrets are masked in them already."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import title_of
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric

MOST_LINES, LONGEST_LINE, MOST_STEPS = 200, 1_000, 200
WAITING, RUNNING = "waiting", "running"


@dataclass(kw_only=True)
class StepProgress:
    """A step of a launched run as its events say; ``done`` is None until it says how far it is."""

    title: str
    reason: str
    status: str = WAITING
    done: float | None = None
    total: float | None = None
    message: str = ""
    seconds: float | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a page shows: the first steps, how many have which status, and the lines printed last."""

    run: str
    steps: Sequence[StepProgress]
    counts: Mapping[str, int]
    lines: Sequence[str]
    notes: Sequence[str]
    problems: Sequence[Problem]


@dataclass(kw_only=True)
class Progress:
    """Collects the events of a run; ``version`` changes with each of them."""

    run: str = ""
    version: int = 0
    _steps: dict[str, StepProgress] = field(default_factory=dict)
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    _notes: list[str] = field(default_factory=list)
    _problems: list[Problem] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def read(self, line: str) -> str:
        """Take a line of the run; returns the name of its event, "" if it is none."""
        try:
            event = json.loads(line)
            name = str(event["event"])
        except (ValueError, TypeError, KeyError):
            return ""
        with self._lock:
            self._take(name, event)
            self.version += 1
        return name

    def say(self, *lines: str) -> None:
        """Add lines that are not of an event."""
        with self._lock:
            self._lines.extend(line[:LONGEST_LINE] for line in lines)
            self.version += 1

    def snapshot(self) -> Snapshot:
        """Return what there is to show now."""
        with self._lock:
            steps = [StepProgress(**vars(step)) for step in [*self._steps.values()][:MOST_STEPS]]
            counts = Counter(step.status for step in self._steps.values())
            lines, notes, problems = [*self._lines], [*self._notes], [*self._problems]
        return Snapshot(run=self.run, steps=steps, counts=counts, lines=lines, notes=notes, problems=problems)

    def _take(self, name: str, event: Mapping[str, Any]) -> None:
        if name == "run_started":
            self.run = str(event["id"])
            self._notes += event["notes"]
        for step in event.get("steps") or ():
            status = WAITING if step["action"] in ("run", "if best") else step["action"]
            self._steps[step["key"]] = StepProgress(title=_title(step), reason=step["reason"], status=status)
        if name == "bad_input":
            self._problems += [Problem(**{**p, "jobs": tuple(p.get("jobs", ()))}) for p in event["problems"]]
        elif name == "note":
            self._notes.append(event["text"])
        elif name.startswith("step_"):
            self._take_step(name, event)

    def _take_step(self, name: str, event: Mapping[str, Any]) -> None:
        step = self._steps.setdefault(event["key"], StepProgress(title=_title(event), reason=""))
        if name == "step_started":
            step.status, step.reason = RUNNING, event["reason"]
        elif name == "step_waits":
            step.message = f"waits for {event['holder']}"
        elif name == "step_progress":
            step.done, step.total, step.message = event["done"], event["total"], event["message"]
        elif name == "step_reported":
            step.metrics = _shown(event["metrics"])
        elif name == "step_printed":
            self._lines.extend(line[:LONGEST_LINE] for line in event["text"].splitlines())
        elif name == "step_ended":
            step.status, step.seconds, step.reason = event["status"], event["seconds"], event["reason"]
            step.metrics, step.message = _shown(event["metrics"]), event["error"] or ""
            step.done = step.total = None


def _title(event: Mapping[str, Any]) -> str:
    return title_of(event["stage"], event["subcommand"], event.get("element"))


def _shown(metrics: Mapping[str, float | None] | None) -> tuple[str, ...]:
    return tuple(f"{name} {format_metric(value)}" for name, value in (metrics or {}).items() if value is not None)
