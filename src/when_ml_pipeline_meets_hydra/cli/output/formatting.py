"""Outcomes and tables as plain text, for the screen and for pipes; nothing here prints or needs a library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome

Parts = tuple[tuple[str, str], ...]  # texts and their styles

STYLES = {
    "run": "cyan",
    "done": "green",
    "stored": "dim",
    "not needed": "dim",
    "failed": "bold red",
    "skipped": "yellow",
    "interrupted": "yellow",
    "running": "cyan",
    "killed": "bold red",
}
GOES_ON = "Finished steps are kept: the same command goes on from there."


def outcome_parts(outcome: Outcome) -> Parts:
    """What became of one step in one line, ``modeling train: done in 1.3 s (new)  r2=0.87``; its error in a second."""
    status, seconds = outcome.status, outcome.seconds
    took = f" in {seconds:.1f} s" if seconds >= 0.05 else ""
    metrics = f"  {metrics_text(outcome.metrics)}" if outcome.metrics else ""
    error = (f"\n  {outcome.error}", "red") if outcome.error else ("", "")
    head = ((outcome.step.call.name, "bold"), (": ", ""), (status, STYLES[status]), (took, ""))
    return *head, (f" ({outcome.reason})", "dim"), (metrics, ""), error


def plain(parts: Parts) -> str:
    """The parts of a line without their styles."""
    return "".join(text for text, _ in parts)


def metrics_text(metrics: Mapping[str, float]) -> str:
    """``r2=0.868 mae=1.92``."""
    from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric  # not needed for --help

    return " ".join(f"{name}={format_metric(value)}" for name, value in metrics.items())


def counted(words: Iterable[str]) -> str:
    """``3 done, 1 failed``."""
    return ", ".join(f"{n} {word}" for word, n in Counter(words).items()) or "nothing to do"


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A plain table, line by line: quick for many rows, and nothing in it is cut or wrapped."""
    lines = [tuple(columns), *(tuple(cell.replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(map(str.ljust, line, widths)).rstrip()
