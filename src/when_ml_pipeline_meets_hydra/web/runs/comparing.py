"""The page that compares the combinations of some runs: a table, a scatter plot, parallel coordinates."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.binding.settings import Objective
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.compare import (
    Combination,
    Comparison,
    compare,
    format_value,
    objective_of,
    rounded,
)
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.web.pages import render, settings_of
from when_ml_pipeline_meets_hydra.web.runs import charts
from when_ml_pipeline_meets_hydra.web.runs.addresses import page_number, records_named

SIZE = 100  # rows of a page of the table
MOST_RUNS, MOST_JOBS = 500, 20_000
MOST_POINTS, MOST_LINES, MOST_AXES = 2_000, 500, 7


def compare_page(request: Request) -> Response:
    """Compare runs, which the address names."""
    query, home = request.query_params, settings_of(request).home
    records = records_named(home, query.getlist("run"))
    if not records:
        raise BadInput(Problem(key="runs", message="choose the runs to compare", remedy="Mark them in the list"))
    jobs = sum(record.head["job_count"] for record in records)
    if len(records) > MOST_RUNS or jobs > MOST_JOBS:
        message = f"at most {MOST_RUNS} runs with {MOST_JOBS:,} jobs in all can be compared on a page"
        raise BadInput(Problem(key="runs", message=message, remedy="Use: wmh runs compare RUN… --csv FILE"))
    comparison = compare(records)
    metric, direction = _objective(comparison, records, query.get("metric", ""))
    if metric:
        comparison = comparison.sorted(Objective(metric=metric, direction=direction))
    page = page_number(request)
    keys = comparison.keys
    key = query.get("key", "") if query.get("key") in keys else (keys[0] if keys else "")
    content: dict[str, Any] = {
        "records": records,
        "comparison": comparison,
        "names": [(name, comparison.shown(name)) for name in comparison.metrics],
        "metric": metric,
        "direction": direction,
        "key": key,
        "rows": [_cells(comparison, row) for row in comparison.rows[(page - 1) * SIZE : page * SIZE]],
        "page": page,
        "pages": max((len(comparison.rows) + SIZE - 1) // SIZE, 1),
        "address": urlencode([("run", record.id) for record in records] + [("metric", metric), ("key", key)]),
        "runs": urlencode([("run", record.id) for record in records]),
        "most": {"points": MOST_POINTS, "lines": MOST_LINES},
        **_charts(comparison, key, metric, direction),
    }
    return render(request, "runs/compare.html", **content)


def _charts(comparison: Comparison, key: str, metric: str, direction: str) -> dict[str, Any]:
    if not (key and metric):
        return {"scatter": None, "parallel": None}
    shown, rows = comparison.shown(metric), comparison.rows
    axes = [name for name in comparison.keys if name != key][: MOST_AXES - 1]
    return {
        "scatter": charts.scatter(rows[:MOST_POINTS], key, metric, shown),
        "parallel": charts.parallel(
            rows[:MOST_LINES], [key, *axes], metric, shown, is_smaller_better=direction == "minimize"
        ),
    }


def _objective(comparison: Comparison, records: list[Record], wanted: str) -> tuple[str, Any]:
    """The metric by which rows are sorted and coloured, and its direction."""
    recorded = objective_of(records[0])
    metric = wanted if wanted in comparison.metrics else ""
    if not metric and recorded.metric:
        metric = next((m for m in comparison.metrics if recorded.metric in (m, m.partition(".")[2])), "")
    metric = metric or next(iter(comparison.metrics), "")
    own = next((found for r in records if (found := r.head.get("directions", {}).get(metric))), None)
    same = recorded.metric in (metric, metric.partition(".")[2])
    return metric, own or (recorded.direction if same else None) or "maximize"


def _cells(comparison: Comparison, row: Combination) -> dict[str, Any]:
    values = [format_value(rounded(row.values[key])) if key in row.values else "" for key in comparison.keys]
    metrics = [row.metrics.get(name) for name in comparison.metrics]
    return {"run": row.run, "jobs": row.jobs, "status": row.status, "values": values, "metrics": metrics}
