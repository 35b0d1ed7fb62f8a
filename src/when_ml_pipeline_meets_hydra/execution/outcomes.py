"""What becomes of steps, and who is told while it happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from when_ml_pipeline_meets_hydra.contracts import Artifact
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.planning.plan import Step


class Status(StrEnum):
    """What became of a step."""

    DONE = "done"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class OnError(StrEnum):
    """What a step that fails does to steps that do not come after it."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one step; ``error`` is one message, the whole of it is in ``log`` (None: nothing was printed)."""

    step: Step
    status: Status
    reason: str
    seconds: float = 0.0
    metrics: Mapping[str, float] | None = None
    error: str | None = None
    exit_code: ExitCode = ExitCode.DONE
    log: Path | None = None
    artifact: Artifact | None = None
