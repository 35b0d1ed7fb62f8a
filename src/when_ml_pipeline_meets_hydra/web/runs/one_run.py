"""The pages of a run: its facts, steps and files, its jobs, and the config of each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.binding.call import title_of
from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.web.pages import field, redirect, render
from when_ml_pipeline_meets_hydra.web.runs.addresses import page_number, record_in
from when_ml_pipeline_meets_hydra.web.runs.files import files_of

STEPS, JOBS = 100, 100  # of a page
_NOT_RUN = "not run"
FEW_JOBS = 12  # that the page of the run lists itself


def run_page(request: Request) -> Response:
    """Show a run: facts, steps, files."""
    return _run_page(request, record_in(request))


def _run_page(request: Request, record: Record, *, note: str | None = None, wrong: BadInput | None = None) -> Response:
    page, files = page_number(request, "steps"), list(files_of(record))
    steps = record.steps
    content: dict[str, Any] = {
        "record": record,
        "head": record.head,
        "note": record.note if note is None else note,
        "problems_found": wrong.problems if wrong else (),
        "command": shlex.join(record.head["overrides"]),
        "rerun": shlex.join(["wmh", "runs", "rerun", record.id]),
        "versions": record.head["versions"],
        "steps": [_step(record, step) for step in steps[(page - 1) * STEPS : page * STEPS]],
        "step_count": len(steps),
        "page": page,
        "pages": max((len(steps) + STEPS - 1) // STEPS, 1),
        "jobs": list(islice(record.jobs(), FEW_JOBS)) if record.head["job_count"] <= FEW_JOBS else None,
        "pictures": [file for file in files if file.is_picture],
        "reports": [file for file in files if file.is_report],
        "texts": [file for file in files if file.is_text],
    }
    return render(request, "runs/run.html", status=422 if wrong else 200, **content)


def change_tags(request: Request) -> Response:
    """Add tags to a run, or remove one."""
    record = record_in(request)
    added, removed = field(request, "add").replace(",", " ").split(), field(request, "remove")
    try:
        record.annotate(lambda before: before.with_tags(added, [removed]))
    except BadInput as error:
        return _run_page(request, record, wrong=error)
    return redirect(request, f"/runs/{quote(record.id)}", "The tags are changed.")


def change_note(request: Request) -> Response:
    """Write the note of a run, unless it has changed since the form was shown."""
    record = record_in(request)
    text, shown = (field(request, name).replace("\r\n", "\n").strip() for name in ("note", "shown"))
    try:
        record.annotate(lambda before: before.with_note(text, instead_of=shown))
    except BadInput as error:
        return _run_page(request, record, note=text, wrong=error)
    return redirect(request, f"/runs/{quote(record.id)}", "The note is changed.")


def jobs_page(request: Request) -> Response:
    """Show the jobs of a run, page by page, with the status and the metrics of their own steps."""
    record, page = record_in(request), page_number(request)
    wanted, status = (request.query_params.get(name, "").strip() for name in ("q", "status"))
    own = {step["key"]: step for step in record.steps}
    pairs = ((job, own.get(job["key"], {})) for job in record.jobs() if wanted in " ".join(job["overrides"]))
    found = [pair for pair in pairs if status in ("", pair[1].get("status", _NOT_RUN))]
    rows = [_job(job, step) for job, step in found[(page - 1) * JOBS : page * JOBS]]
    content: dict[str, Any] = {
        "record": record,
        "rows": rows,
        "wanted": wanted,
        "wanted_status": status,
        "statuses": sorted({step["status"] for step in own.values()} | {_NOT_RUN}),
        "count": len(found),
        "page": page,
        "pages": max((len(found) + JOBS - 1) // JOBS, 1),
    }
    return render(request, "runs/jobs.html", **content)


def job_page(request: Request) -> Response:
    """Show the composed config of a job, secrets masked."""
    record, number = record_in(request), request.path_params["job"]
    job = next((job for job in record.jobs() if job["number"] == number), None)
    if job is None:
        raise HTTPException(404, f"The run has the jobs 0 to {record.head['job_count'] - 1}.")
    rerun = shlex.join(["wmh", "runs", "rerun", record.id, "--job", str(number)])
    content: dict[str, Any] = {"record": record, "job": job, "config": dump_yaml(record.config(number)), "rerun": rerun}
    return render(request, "runs/job.html", **content)


def _step(record: Record, step: Mapping[str, Any]) -> dict[str, Any]:
    log = step["log"] and f"/runs/{quote(record.id)}/text/{quote(step['log'])}"
    name = title_of(step["stage"], step["subcommand"], step.get("element"))
    return {**step, "name": name, "shown_metrics": list(_metrics(step)), "log_page": log}


def _job(job: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any]:
    return {**job, "status": step.get("status", _NOT_RUN), "shown_metrics": list(_metrics(step))}


def _metrics(step: Mapping[str, Any]) -> Iterator[str]:
    spread = step.get("deviations") or {}
    for name, value in (step.get("metrics") or {}).items():
        yield f"{name} {format_metric(value, spread.get(name))}"
