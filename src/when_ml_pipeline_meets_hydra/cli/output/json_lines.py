"""The events of a run as JSON lines on stdout; docs/reference/json-lines.md describes the fields."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.cli.output.plain_lines import OutputObserver, notes
from when_ml_pipeline_meets_hydra.cli.output.streams import Stream, has_unicode
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.records.compare import compare

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.errors import Problem
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step
    from when_ml_pipeline_meets_hydra.runs import Prepared, Run, SearchState

_PAUSE = 0.1  # seconds between two progress events of a step


def _encode(content: Any) -> str:
    return json.dumps(content, ensure_ascii=not has_unicode(sys.__stdout__ or sys.stdout), default=str)


class JsonLines(OutputObserver):
    """Writes the events of a run; secrets are masked even with ``show_secrets``."""

    def __init__(self) -> None:
        self._out, self._lock = Stream(sys.stdout), RLock()
        self._masks = Redactor()
        self._progress_times: dict[str, float] = {}
        self._score_times: dict[str, float] = {}

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """Write all jobs, and all steps with their actions."""
        self._masks = prepared.bound.redactor
        jobs, steps = self._planned(prepared)
        self._emit("run_started", id=folder.name, folder=str(folder), jobs=jobs, steps=steps, notes=[*notes(prepared)])

    def jobs_added(self, prepared: Prepared) -> None:
        """Write the jobs and steps that a search has added."""
        jobs, steps = self._planned(prepared)
        self._emit("jobs_added", jobs=jobs, steps=steps)

    def _planned(self, prepared: Prepared) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        secret = prepared.bound.secret_keys
        jobs = [
            {
                "number": job.number,
                "stage": job.stage,
                "overrides": [self._masks.override(o, secret) for o in job.overrides],
                "key": prepared.plan.requested.get(job.number),
            }
            for job, _ in prepared.bound.calls
        ]
        steps = [
            {**_named(s), "action": s.action, "reason": self._masks.text(s.reason), "jobs": s.jobs}
            for s in prepared.plan.steps
        ]
        return jobs, steps

    def step_started(self, step: Step) -> None:
        """Write that a step is being computed."""
        self._emit("step_started", **_named(step), reason=self._masks.text(step.reason), jobs=step.jobs)

    def step_waits(self, step: Step, holder: str) -> None:
        """Write that a step waits for another run, which computes the same step."""
        self._emit("step_waits", **_named(step), holder=holder)

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """Write the progress of a step, at most ten times per second."""
        now = time.monotonic()
        if done == total or now - self._progress_times.get(step.key, 0) >= _PAUSE:
            self._progress_times[step.key] = now
            message = self._masks.text(message)
            self._emit("step_progress", **_named(step), done=done, total=total, message=message)

    def step_reported(self, step: Step, number: int, metrics: Mapping[str, float]) -> None:
        """Write partial scores of a step, at most ten times per second."""
        now = time.monotonic()
        if now - self._score_times.get(step.key, 0) >= _PAUSE:
            self._score_times[step.key] = now
            known = {name: value if isfinite(value) else None for name, value in metrics.items()}
            self._emit("step_reported", **_named(step), step=number, metrics=known)

    def step_printed(self, step: Step, text: str) -> None:
        """Write the lines that a step printed."""
        self._emit("step_printed", **_named(step), text=self._masks.text(text))

    def step_ended(self, outcome: Outcome) -> None:
        """Write the outcome of a step."""
        self._progress_times.pop(outcome.step.key, None)
        self._score_times.pop(outcome.step.key, None)
        self._emit(
            "step_ended",
            **_named(outcome.step),
            status=outcome.status,
            reason=self._masks.text(outcome.reason),
            seconds=round(outcome.seconds, 3),
            metrics=outcome.metrics,
            **({"deviations": outcome.deviations} if outcome.deviations else {}),
            error=outcome.error and self._masks.text(outcome.error),
            log=outcome.log and str(outcome.log),
            jobs=outcome.step.jobs,
        )

    def run_ended(self, run: Run) -> None:
        """Write the status of the run and of each combination."""
        self._emit(
            "run_ended",
            id=run.record.id,
            status=run.record.status,
            exit_code=int(run.exit_code),
            counts=dict(Counter(o.status for o in run.outcomes)),
            combinations=[row.as_json() for row in compare([run.record]).rows],
            **({"study": study} if (study := run.record.head.get("study")) else {}),
        )

    def search_continues(self, state: SearchState) -> None:
        """Write how far a search is."""
        left = state.seconds_left(time.monotonic())
        shown = {"ended": state.ended, "failed": state.failed, "most": state.most, "best": state.best}
        self._emit("search", **shown, seconds_left=None if left is None else round(left, 1))

    def note(self, text: str) -> None:
        """Write a note."""
        self._emit("note", text=self._masks.text(text))

    def _emit(self, event: str, **fields: Any) -> None:
        with self._lock:
            self._out.write(f"{_encode({'event': event, **fields})}\n")


def write_problems(problems: Iterable[Problem]) -> None:
    """Write the problems of bad input, as the only event."""
    shown = [{k: v for k, v in vars(p).items() if v not in (None, ())} for p in problems]
    Stream(sys.stdout).write(f"{_encode({'event': 'bad_input', 'problems': shown})}\n")


def _named(step: Step) -> Mapping[str, Any]:
    call = step.call
    element = {"element": call.element} if call.element else {}
    return {"key": step.key, "stage": call.stage, "subcommand": call.subcommand, **element}
