"""The section of the config store: its entries by groups."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from when_ml_pipeline_meets_hydra.composing.tree import described_by
from when_ml_pipeline_meets_hydra.config_store.entries import included
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.web.pages import render, session_of, settings_of
from when_ml_pipeline_meets_hydra.web.section import Section


def store_of(request: Request) -> ConfigStore:
    """Return the config store, in the name of the person who is signed in."""
    return ConfigStore(settings_of(request).store, session_of(request).name)


def entries_page(request: Request) -> Response:
    """Show the entries, group by group; ``?q=`` is a part of their names, or a pattern as ``customer/*``."""
    store, wanted = store_of(request), request.query_params.get("q", "").strip()
    entries = store.entries() if store.exists else {}
    revisions = {revision.number: revision for revision in store.history()} if entries else {}
    rows: list[dict[str, Any]] = []
    for path, entry in entries.items():
        if not wanted or wanted in path or fnmatchcase(path, wanted):
            includes = sorted(name for name in included(path, entry.text) if name in entries)
            by, description = revisions[entry.revision], described_by(entry.text)
            rows.append({"entry": entry, "by": by, "includes": includes, "description": description})
    groups = [(group, [*found]) for group, found in groupby(rows, lambda row: row["entry"].group)]
    content: dict[str, Any] = {"groups": groups, "count": len(entries), "wanted": wanted, "place": store.entry.shown}
    return render(request, "configs/entries.html", **content)


SECTION = Section(title="Configs", path="/configs", routes=(Route("/configs", entries_page),))
