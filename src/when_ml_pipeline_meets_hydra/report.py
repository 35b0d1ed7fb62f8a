"""Plans, outcomes, problems and records as Rich renderables; nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.errors import Problem
    from when_ml_pipeline_meets_hydra.execute import Outcome
    from when_ml_pipeline_meets_hydra.plan import Plan, Step

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


@dataclass(frozen=True)
class Problems:
    """All that is wrong with the input."""

    problems: Sequence[Problem]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One paragraph per problem: key and value, what is wrong, where it comes from, what to do."""
        many = len(self.problems)
        yield Text("Nothing ran: " + (f"{many} problems" if many > 1 else "1 problem"), "bold red")
        for problem in self.problems:
            head = problem.key if problem.value is None else f"{problem.key}={problem.value}"
            yield Text.assemble("  ", (head, "bold"), ": " if head else "", problem.message)
            if problem.origin:
                yield Text(f"      from {problem.origin}", "dim")
            if problem.remedy:
                yield Text(f"      {problem.remedy}", "green")


@dataclass(frozen=True)
class PlanTable:
    """The steps of a plan, with what will be done and why."""

    plan: Plan

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table, and one line that counts."""
        table = _table("step", "key", "action", "why")
        for step in self.plan.steps:
            table.add_row(step.call.name, step.key[:12], _styled(step.action), Text(step.reason))
        yield table
        yield Text(_counted(str(s.action) for s in self.plan.steps) + "; nothing was run")


@dataclass(frozen=True)
class OutcomeLine:
    """What became of one step, in one line."""

    outcome: Outcome

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """``modeling train: done in 1.3 s (new) r2=0.87``."""
        o = self.outcome
        line = Text.assemble((o.step.call.name, "bold"), ": ", _styled(o.status))
        if o.seconds >= 0.05:
            line.append(f" in {o.seconds:.1f} s")
        line.append(f" ({o.reason})", "dim")
        if o.metrics:
            line.append("  " + metrics_text(o.metrics))
        yield line
        if o.error:
            yield Text(f"  {o.error}", "red")


@dataclass(frozen=True)
class Summary:
    """The last words of a run."""

    outcomes: Sequence[Outcome]
    run_id: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What was done, and where failures are told in full."""
        yield Text(f"run {self.run_id}: " + _counted(str(o.status) for o in self.outcomes))
        for o in self.outcomes:
            if str(o.status) == "interrupted":
                yield Text("Interrupted. Finished steps are kept: the same command goes on from there.", "yellow")
            elif o.error and o.log:
                yield Text.assemble("  ", (o.step.call.name, "bold"), f" {o.status}, log: {o.log}")


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan for machines."""
    return {"steps": [_step_json(s) for s in plan.steps], "asked": {str(n): k for n, k in plan.asked.items()}}


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "key": step.key,
        "stage": step.call.stage,
        "subcommand": step.call.subcommand,
        "action": str(step.action),
        "reason": step.reason,
        "jobs": list(step.jobs),
        "needs": dict(step.needs),
        "after": list(step.after),
        "inputs": step.inputs,
    }


@dataclass(frozen=True)
class Rows:
    """A plain table: ``columns`` are its headings, a cell in a column named ``status`` gets its colour."""

    columns: Sequence[str]
    rows: Iterable[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table."""
        table = _table(*self.columns)
        for row in self.rows:
            table.add_row(*(_styled(c) if h == "status" else Text(c) for h, c in zip(self.columns, row, strict=True)))
        yield table


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A plain table, line by line: quick for many rows, and nothing in it is cut or wrapped."""
    lines = [tuple(columns), *(tuple(cell.replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(map(str.ljust, line, widths)).rstrip()


def metrics_text(metrics: Mapping[str, float]) -> str:
    """``r2=0.868 mae=1.92``."""
    return " ".join(f"{name}={value:.4g}" for name, value in metrics.items())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("key", "action", "status", "id"))
    return table


def _styled(word: object) -> Text:
    return Text(str(word), STYLES.get(str(word), ""))


def _counted(words: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{n} {word}" for word, n in counts.items()) or "nothing to do"
