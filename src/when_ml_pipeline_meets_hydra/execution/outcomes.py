"""What becomes of steps, and who is told while it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.planning.plan import Step

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.contracts import Artifact


class Status(StrEnum):
    """What became of a step; ``NOT_RUN`` where its run ended before it began."""

    DONE = "done"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    NOT_RUN = "not run"


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


def exit_code_of(outcomes: Sequence[Outcome]) -> ExitCode:
    """How the process ends: interrupted, else a failure of a step, else a refusal, else bad input found in a step."""
    codes = {o.exit_code for o in outcomes if o.status in (Status.FAILED, Status.INTERRUPTED)}
    order = (ExitCode.INTERRUPTED, ExitCode.STEP_FAILED, ExitCode.REFUSED, ExitCode.BAD_INPUT)
    return next((code for code in order if code in codes), ExitCode.DONE)


def measured(value: float) -> str:
    """A metric with four digits: ``0.868``."""
    return f"{value:.4g}"
