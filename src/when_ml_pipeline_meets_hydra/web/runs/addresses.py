"""What the addresses of pages of runs name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from when_ml_pipeline_meets_hydra.records.lookup import is_run, record_of, run_ids
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.web.pages import settings_of


def record_in(request: Request) -> Record:
    """Return the record that an address names. Raises ``HTTPException`` if there is no such run."""
    (record,) = records_named(settings_of(request).home, [request.path_params["run"]])
    return record


def records_named(home: Path, runs: Iterable[str]) -> list[Record]:
    """Return the records with these ids, which are folders of runs. Raises ``HTTPException`` for any other."""
    known, named = set(run_ids(home)), list(dict.fromkeys(runs))
    for run in named:
        if run not in known or not is_run(home, run):
            raise HTTPException(404, f"There is no run {run}.")
    return [record_of(home, run) for run in named]


def page_number(request: Request, name: str = "page") -> int:
    """Return the number of the requested page, from 1."""
    text = request.query_params.get(name, "1")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 8 else 1
