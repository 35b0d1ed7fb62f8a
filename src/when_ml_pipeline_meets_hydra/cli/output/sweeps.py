"""The summary of a sweep: its combinations side by side; of many, the best and the failed ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from when_ml_pipeline_meets_hydra.binding.settings import Objective
from when_ml_pipeline_meets_hydra.cli.output.formatting import Parts
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.execution.outcomes import Status, counted
from when_ml_pipeline_meets_hydra.records.compare import Combination, Comparison

_MANY = 40  # combinations; of more, only some are shown
_MOST = 20  # best combinations, failed combinations and failures shown then


def sort_combinations(comparison: Comparison, objective: Objective) -> tuple[Comparison, str | None]:
    """Sort combinations by an objective; returns a note if it names an unknown metric."""
    try:
        return comparison.sorted(objective), None
    except BadInput as error:
        (problem,) = error.problems
        remedy = f". {problem.remedy}" if problem.remedy else ""
        return comparison, f"Note: not sorted by objective.metric={objective.metric}: {problem.message}{remedy}"


def shown_rows(comparison: Comparison) -> Sequence[Combination]:
    """Return all combinations, or the best and the failed ones of many."""
    rows = comparison.rows
    if len(rows) <= _MANY:
        return rows
    failed = [row for row in rows[_MOST:] if row.status is Status.FAILED]
    return [*rows[:_MOST], *failed[:_MOST]]


def footer(comparison: Comparison, shown: int, run_id: str) -> Iterator[Parts]:
    """Yield the lines below the table: its order, how to see the rest, and each failure once."""
    objective = comparison.objective
    order = f"sorted by {comparison.heading(objective.metric)}, {objective.direction}" if objective.metric else ""
    if (all_rows := len(comparison.rows)) > shown:
        rest = f"{shown} of {all_rows} combinations{', ' if order else ''}{order}; all of them: runs compare {run_id}"
        yield ((rest, "dim"),)
    elif order:
        yield ((f"{counted(all_rows, 'combination')}, {order}", "dim"),)
    for failure in comparison.failures[:_MOST]:
        yield ((failure.step, "bold"), (f" {failure.status}: ", ""), (failure.error, "red"))
        if failure.log:
            yield ((f"  log: {failure.log}", ""),)
    if (more := len(comparison.failures) - _MOST) > 0:
        yield ((f"{more} more failures: runs show {run_id}", "dim"),)
