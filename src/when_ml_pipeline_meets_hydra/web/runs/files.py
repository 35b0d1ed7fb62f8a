"""Files of a run that can be looked at or downloaded: logs, reports, pictures, configs; nothing else of the home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass
from when_ml_pipeline_meets_hydra.web.pages import render
from when_ml_pipeline_meets_hydra.web.runs.addresses import record_in

_TEXT = "text/plain; charset=utf-8"
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
_TEXTS = {".txt": _TEXT, ".log": _TEXT, ".yaml": _TEXT, ".json": _TEXT, ".jsonl": _TEXT}
_TYPES = {**_TEXTS, **_PICTURES, ".html": "text/html; charset=utf-8"}
_REPORTS = {".html", *_PICTURES}  # what results of steps have for people
_MOST_FILES = 500
_SHOWN_BYTES = 300_000  # of a log


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A file: its name for people, where it is, and its address."""

    name: str
    path: Path
    address: str

    @property
    def is_picture(self) -> bool:
        """Whether it is shown on the page of the run."""
        return self.path.suffix in _PICTURES

    @property
    def is_text(self) -> bool:
        """Whether it is shown as text on a page of its own."""
        return self.path.suffix in _TEXTS

    @property
    def is_report(self) -> bool:
        """Whether it is a page by itself."""
        return self.path.suffix == ".html"

    @property
    def size(self) -> str:
        """Its size for people."""
        size = self.path.stat().st_size
        return f"{size:,} B" if size < 1_000 else f"{size / 1_000:,.0f} kB"


def files_of(record: Record) -> Iterator[RunFile]:
    """Yield the files in the folder of a record, and the reports and pictures among the results of its steps."""
    yield from islice(_own_files(record), _MOST_FILES)
    store = record.folder.parent.parent / "store"
    steps = {step["key"]: step for step in record.steps if step["status"] in ("done", "stored")}
    for key, step in islice(steps.items(), _MOST_FILES):
        folder = store / key[:2] / key / "files"
        for path in _below(folder):
            if path.suffix in _REPORTS:
                inside = path.relative_to(folder).as_posix()
                address = f"/runs/{quote(record.id)}/results/{key}/{quote(inside)}"
                yield RunFile(name=f"{step['stage']} {step['subcommand']}: {inside}", path=path, address=address)


def _own_files(record: Record) -> Iterator[RunFile]:
    for path in _below(record.folder):
        if path.suffix in _TYPES:
            inside = path.relative_to(record.folder).as_posix()
            yield RunFile(name=inside, path=path, address=f"/runs/{quote(record.id)}/files/{quote(inside)}")


def _below(folder: Path) -> Iterator[Path]:
    """The files below a folder; links are left out."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not (path := Path(place) / name).is_symlink():
                yield path


def download(request: Request) -> Response:
    """Send one of the files of a run, which browsers save and never show as a page of the app."""
    found = _requested(request)
    return FileResponse(
        found.path,
        media_type=_TYPES[found.path.suffix],
        filename=found.path.name,
        content_disposition_type="attachment",
    )


def text_page(request: Request) -> Response:
    """Show the end of a log, or of another text."""
    record, found = record_in(request), _requested(request)
    if not found.is_text:
        raise HTTPException(404)
    with found.path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _SHOWN_BYTES, 0))
        text = file.read().decode(errors="replace")
    content: dict[str, Any] = {"record": record, "file": found, "text": text, "left_out": max(size - _SHOWN_BYTES, 0)}
    return render(request, "runs/text.html", **content)


def _requested(request: Request) -> RunFile:
    """The file that an address names, if it is one of those of the run."""
    record, asked = record_in(request), request.path_params
    part = f"results/{asked['key']}" if "key" in asked else "files"
    address = f"/runs/{quote(record.id)}/{part}/{quote(asked['name'])}"
    found = next((file for file in files_of(record) if file.address == address), None)
    if found is None:
        raise HTTPException(404)
    return found
