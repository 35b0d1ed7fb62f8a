"""Summaries of runs, as lists show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.records.record import RunStatus, live_status
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record

_MOST_METRICS = 3  # of each stage


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a list shows of a run.

    ``metrics`` are the first few of each stage: of the best combination if ``is_best``, by the run's objective.
    ``study`` is the study of a search.
    """

    id: str
    recorded_status: str
    process: Mapping[str, Any]
    started: str
    seconds: float | None
    stages: tuple[str, ...]
    job_count: int
    command: str
    metrics: Mapping[str, float]
    is_best: bool
    study: Mapping[str, Any] | None
    tags: tuple[str, ...]
    note: str

    @cached_property
    def status(self) -> RunStatus:
        """The status of the run."""
        return live_status(self.recorded_status, self.process)

    @property
    def stages_measured(self) -> int:
        """The number of stages that have metrics."""
        return len({name.partition(".")[0] for name in self.metrics})

    @classmethod
    def decoded(cls, content: bytes) -> RunSummary:
        """Return a summary from its bytes."""
        fields = json.loads(content)
        return cls(**fields | {name: tuple(fields[name]) for name in ("stages", "tags")})


def summary_of(record: Record) -> bytes:
    """Return the encoded summary of a run. Raises ``BadInput`` if what it needs of the record is damaged."""
    head, best = record.head, _of_best(record)
    stages = groupby((best or record.metrics).items(), key=lambda metric: metric[0].partition(".")[0])
    fields = {
        "id": record.id,
        "recorded_status": head["status"],
        "process": head["process"],
        "started": head["started"],
        "seconds": head["seconds"],
        "stages": head["stages"],
        "job_count": head["job_count"],
        "command": " ".join(head["overrides"]),
        "metrics": dict(metric for _, metrics in stages for metric in islice(metrics, _MOST_METRICS)),
        "is_best": bool(best),
        "study": head.get("study"),
        "tags": record.tags,
        "note": record.note,
    }
    return json.dumps(fields, default=str).encode()


def _of_best(record: Record) -> dict[str, float]:
    """The metrics of the best combination of a sweep by its objective; empty if there is none."""
    objective = record.head["objective"]
    stage, _, name = (objective["metric"] or "").partition(".")
    whole = [step for step in record.steps if not step.get("element")] if name else []
    measured = [s for s in whole if s["stage"] == stage and name in (s["metrics"] or {})]
    if len(measured) < 2:
        return {}
    sign = -1 if objective["direction"] == "minimize" else 1
    best = max(reversed(measured), key=lambda step: sign * step["metrics"][name])
    own = (s for s in whole if s is best or (s["stage"] != stage and set(s["jobs"]) & set(best["jobs"])))
    return {f"{s['stage']}.{metric}": value for s in own for metric, value in (s["metrics"] or {}).items()}
