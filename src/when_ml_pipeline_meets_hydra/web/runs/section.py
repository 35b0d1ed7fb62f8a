"""The list of runs, and the routes of the section."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.find_runs import RunPage, page_of_runs
from when_ml_pipeline_meets_hydra.web.pages import render, settings_of
from when_ml_pipeline_meets_hydra.web.runs.comparing import compare_page
from when_ml_pipeline_meets_hydra.web.runs.files import download, text_page
from when_ml_pipeline_meets_hydra.web.runs.filters import SIZE, STATUSES, RunFilters
from when_ml_pipeline_meets_hydra.web.runs.one_run import change_note, change_tags, job_page, jobs_page, run_page
from when_ml_pipeline_meets_hydra.web.section import Section


def runs_page(request: Request) -> Response:
    """Show the runs that the fields find, page by page."""
    filters = RunFilters(request.query_params)
    damaged: list[BadInput] = []
    found, problems = RunPage(runs=(), count=0), tuple[Problem, ...]()
    try:
        found = page_of_runs(
            settings_of(request).home,
            filters.filters(),
            filters.order,
            start=filters.start,
            size=SIZE,
            left_out=damaged.append,
        )
    except BadInput as error:
        problems = error.problems
    content: dict[str, Any] = {
        "filters": filters,
        "statuses": STATUSES,
        "found": found,
        "pages": max((found.count + SIZE - 1) // SIZE, 1),
        "problems_found": problems,
        "damaged": damaged[:5],
        "metrics": sorted({name for run in found.runs for name in run.metrics}),
    }
    return render(request, "runs/list.html", status=422 if problems else 200, **content)


_RUN = "/runs/{run}"
SECTION = Section(
    title="Runs",
    path="/runs",
    routes=(
        Route("/runs", runs_page),
        Route("/runs/compare", compare_page),
        Route(_RUN, run_page),
        Route(f"{_RUN}/tags", change_tags, methods=["POST"]),
        Route(f"{_RUN}/note", change_note, methods=["POST"]),
        Route(f"{_RUN}/jobs", jobs_page),
        Route(f"{_RUN}/jobs/{{job:int}}", job_page),
        Route(f"{_RUN}/text/{{name:path}}", text_page),
        Route(f"{_RUN}/files/{{name:path}}", download),
        Route(f"{_RUN}/results/{{key}}/{{name:path}}", download),
    ),
)
