"""Outcomes, metrics and tables as text; nothing here prints or imports Rich."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome

Parts = tuple[tuple[str, str], ...]  # texts and their Rich styles

STYLES = {
    "run": "cyan",
    "if best": "cyan",
    "done": "green",
    "stored": "dim",
    "not needed": "dim",
    "not chosen": "dim",
    "pruned": "yellow",
    "failed": "bold red",
    "skipped": "yellow",
    "interrupted": "yellow",
    "running": "cyan",
    "killed": "bold red",
}
RESUME_HINT = "Finished steps are kept: the same command continues from there."


def outcome_parts(outcome: Outcome, *, briefly: bool = False) -> Parts:
    """Format an outcome as ``modeling train: done in 1.3 s (new)  r2=0.87``, its error on a second line.

    ``briefly``: without time and reason.
    """
    status, seconds = outcome.status, outcome.seconds
    took = f" in {seconds:.1f} s" if seconds >= 0.05 and not briefly else ""
    metrics = f"  {metrics_text(outcome.metrics, outcome.deviations)}" if outcome.metrics else ""
    error = (f"\n  {outcome.error}", "red") if outcome.error else ("", "")
    shown, why = (outcome.reason, "") if status == "pruned" else (status, f" ({outcome.reason})")
    head = ((outcome.step.call.title, "bold"), (": ", ""), (shown, STYLES[status]), (took, ""))
    return *head, ("" if briefly else why, "dim"), (metrics, ""), error


def metrics_text(metrics: Mapping[str, float], deviations: Mapping[str, float] | None = None) -> str:
    """Format metrics as ``r2=0.868 mae=1.92``, means with their standard deviations as ``r2=0.868 ± 0.02``."""
    from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric  # not needed for --help

    spread = deviations or {}
    return " ".join(f"{name}={format_metric(value, spread.get(name))}" for name, value in metrics.items())


def counts_text(values: Iterable[str]) -> str:
    """Format the counts of statuses or actions as ``3 done, 1 failed``."""
    return ", ".join(f"{n} {value}" for value, n in Counter(values).items()) or "nothing to do"


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a plain table, in which nothing is cut or wrapped; fast for many rows."""
    lines = [tuple(columns), *(tuple(cell.replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(map(str.ljust, line, widths)).rstrip()
