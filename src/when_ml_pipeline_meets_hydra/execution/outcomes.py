"""The outcomes of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.contracts import Artifact


class Status(StrEnum):
    """Final status of a step.

    ``NOT_CHOSEN``: another combination is better; ``NOT_RUN``: the run ended before it started; ``PRUNED``: a pruner
    stopped it, or its combination before it started, because of a partial score.
    """

    DONE = "done"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_CHOSEN = "not chosen"
    PRUNED = "pruned"
    INTERRUPTED = "interrupted"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one step; ``error`` is a message, the traceback is in ``log`` (None: nothing was written).

    ``seconds`` is the wall time, ``metrics`` maps names to values, and ``deviations`` to their standard deviations if
    these are the means of several values; ``reason`` is that of the plan or of a skip. ``partial_scores`` maps the
    metrics that the step reported while it ran to (step, value), see ``Progress.report``; of many, some.
    """

    step: Step
    status: Status
    reason: str
    seconds: float = 0.0
    metrics: Mapping[str, float] | None = None
    deviations: Mapping[str, float] | None = None
    error: str | None = None
    exit_code: ExitCode = ExitCode.DONE
    log: Path | None = None
    artifact: Artifact | None = None
    partial_scores: Mapping[str, Sequence[tuple[int, float]]] | None = None


def exit_code_of(outcomes: Sequence[Outcome]) -> ExitCode:
    """Return the exit code of a run: that of an interrupt, else of a failed step, a refusal, bad input, else 0."""
    codes = {o.exit_code for o in outcomes if o.status in (Status.FAILED, Status.INTERRUPTED)}
    order = (ExitCode.INTERRUPTED, ExitCode.STEP_FAILED, ExitCode.REFUSED, ExitCode.BAD_INPUT)
    return next((code for code in order if code in codes), ExitCode.DONE)


def format_metric(value: float, deviation: float | None = None) -> str:
    """Return a metric with four significant digits, ``0.868``, and its standard deviation: ``0.8612 ± 0.021``."""
    return f"{value:.4g}" if deviation is None else f"{value:.4g} ± {deviation:.2g}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 trial``, ``2 trials``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def format_clock(seconds: float) -> str:
    """Return a duration as on a clock: ``0:41``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
