"""Problems and tables as Rich renderables, a plan as JSON; nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from when_ml_pipeline_meets_hydra.cli.output.formatting import STYLES

_LONG = 12  # characters of a cell that may be folded

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.errors import Problem
    from when_ml_pipeline_meets_hydra.planning.plan import Plan, Step


@dataclass(frozen=True)
class Problems:
    """The problems of bad input, below a title that says what came of it."""

    problems: Sequence[Problem]
    title: str = "Nothing ran"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One paragraph per problem: key and value, message, origin, jobs, remedy."""
        many = len(self.problems)
        yield Text(f"{self.title}: " + (f"{many} problems" if many > 1 else "1 problem"), "bold red")
        for problem in self.problems:
            head = problem.key if problem.value is None else f"{problem.key}={problem.value}"
            yield Text.assemble("  ", (head, "bold"), ": " if head else "", problem.message)
            if problem.origin:
                yield Text(f"      from {problem.origin}", "dim")
            if problem.jobs:
                yield Text(f"      in {problem.concerned}", "dim")
            if problem.remedy:
                yield Text(f"      {problem.remedy}", "green")


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {"steps": [_step_json(s) for s in plan.steps], "requested": {str(n): k for n, k in plan.requested.items()}}


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "key": step.key,
        "stage": step.call.stage,
        "subcommand": step.call.subcommand,
        "element": step.call.element,
        "action": step.action,
        "reason": step.reason,
        "jobs": list(step.jobs),
        "needs": dict(step.needs),
        "after": list(step.after),
        "inputs": step.inputs,
    }


@dataclass(frozen=True)
class Rows:
    """A table with headings; statuses and actions are coloured."""

    columns: Sequence[str]
    rows: Iterable[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table; in a narrow window only long cells are folded."""
        rows = list(self.rows)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, cells in zip(self.columns, zip(*rows, strict=True) if rows else self.columns, strict=True):
            long = _LONG if rows and name not in ("id", "run") else 1000
            table.add_column(name, overflow="fold", no_wrap=max(map(len, cells)) <= long)
        for row in rows:
            table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
        yield table
