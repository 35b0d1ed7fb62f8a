"""A run for machines: one JSON object per line and event on stdout; docs/reference/json-lines.md has the fields."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.cli.output.streams import Stream
from when_ml_pipeline_meets_hydra.cli.output.watching import Watcher, notes
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.records.compare import compare

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.errors import Problem
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step
    from when_ml_pipeline_meets_hydra.runs import Prepared, Run

_PAUSE = 0.1  # seconds between two reports of how far a step has come
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class JsonLines(Watcher):
    """Writes the events of a run; secrets are masked, whatever ``show_secrets`` says."""

    def __init__(self) -> None:
        self._out, self._lock = Stream(sys.stdout), RLock()
        self._masks = Redactor()
        self._told: dict[str, float] = {}

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """All jobs, and all steps with what will be done."""
        self._masks, secret = prepared.bound.redactor, prepared.bound.secret_keys
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
        self._tell("run_started", id=folder.name, folder=str(folder), jobs=jobs, steps=steps, notes=[*notes(prepared)])

    def step_started(self, step: Step) -> None:
        """A step that is computed now."""
        self._tell("step_started", **_named(step), reason=self._masks.text(step.reason), jobs=step.jobs)

    def step_waits(self, step: Step, holder: str) -> None:
        """For whom a step waits."""
        self._tell("step_waits", **_named(step), holder=holder)

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """How far a step has come, not more often than somebody wants to know."""
        now = time.monotonic()
        if done == total or now - self._told.get(step.key, 0) >= _PAUSE:
            self._told[step.key] = now
            message = self._masks.text(message)
            self._tell("step_progress", **_named(step), done=done, total=total, message=message)

    def step_printed(self, step: Step, text: str) -> None:
        """Whole lines that a step printed."""
        self._tell("step_printed", **_named(step), text=self._masks.text(text))

    def step_ended(self, outcome: Outcome) -> None:
        """What became of a step."""
        self._told.pop(outcome.step.key, None)
        self._tell(
            "step_ended",
            **_named(outcome.step),
            status=outcome.status,
            reason=self._masks.text(outcome.reason),
            seconds=round(outcome.seconds, 3),
            metrics=outcome.metrics,
            error=outcome.error and self._masks.text(outcome.error),
            log=outcome.log and str(outcome.log),
            jobs=outcome.step.jobs,
        )

    def run_ended(self, run: Run) -> None:
        """How the run ended, and what became of each combination."""
        self._tell(
            "run_ended",
            id=run.record.id,
            status=run.record.status,
            exit_code=int(run.exit_code),
            counts=dict(Counter(o.status for o in run.outcomes)),
            combinations=[row.as_json() for row in compare([run.record]).rows],
        )

    def _tell(self, event: str, **fields: Any) -> None:
        with self._lock:
            self._out.write(f"{_encode({'event': event, **fields})}\n")


def tell_problems(problems: Iterable[Problem]) -> None:
    """Write what is wrong with the input, as the only event."""
    shown = [{k: v for k, v in vars(p).items() if v not in (None, ())} for p in problems]
    Stream(sys.stdout).write(f"{_encode({'event': 'bad_input', 'problems': shown})}\n")


def _named(step: Step) -> Mapping[str, Any]:
    return {"key": step.key, "stage": step.call.stage, "subcommand": step.call.subcommand}
