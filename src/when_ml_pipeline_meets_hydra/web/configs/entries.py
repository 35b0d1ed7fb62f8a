"""Pages that show entries: all of them, one of them, and those of a group side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.composing.tree import described_by
from when_ml_pipeline_meets_hydra.config_store.combinations import users_of
from when_ml_pipeline_meets_hydra.config_store.effective import EffectiveValue, effective_values, search_path
from when_ml_pipeline_meets_hydra.config_store.entries import Entry, included
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.web.configs import composing
from when_ml_pipeline_meets_hydra.web.configs.composing import COMPOSING, apart_of, place_of, store_of
from when_ml_pipeline_meets_hydra.web.pages import render, settings_of


def entries_page(request: Request) -> Response:
    """Show the entries, group by group; ``?q=`` is a part of their names, or a pattern as ``customer/*``."""
    store, wanted = store_of(request), request.query_params.get("q", "").strip()
    entries = store.entries() if store.exists else {}
    revisions = {revision.number: revision for revision in store.history()} if entries else {}
    drafts = store.drafts() if store.exists else []
    drafted = {change.path: draft.number for draft in drafts for change in draft.changes}
    rows: list[dict[str, Any]] = []
    for path, entry in entries.items():
        if not wanted or wanted in path or fnmatchcase(path, wanted):
            includes = sorted(name for name in included(path, entry.text) if name in entries)
            by, description = revisions[entry.revision], described_by(entry.text)
            rows.append({"entry": entry, "by": by, "includes": includes, "description": description})
    groups = [(group, [*found]) for group, found in groupby(rows, lambda row: row["entry"].group)]
    content: dict[str, Any] = {"groups": groups, "count": len(entries), "wanted": wanted, "drafted": drafted}
    return render(request, "configs/entries.html", **content, place=store.entry.shown, drafts=drafts)


def entry_page(request: Request) -> Response:
    """Show an entry: its text, effective values with their origins, what it includes, and its history."""
    store, path = store_of(request), request.path_params["path"]
    entries = store.entries() if store.exists else {}
    entry = known(path, entries)
    texts = {name: found.text for name, found in entries.items()}
    values, problems = _effective(request, store, path, texts)
    content: dict[str, Any] = {
        "entry": entry,
        "description": described_by(entry.text),
        "history": store.history(path),
        "includes": sorted(name for name in included(path, entry.text) if name in entries),
        "users": sorted(users_of([path], texts) - {path}),
        "drafts": [draft for draft in store.drafts() if any(change.path == path for change in draft.changes)],
    }
    return render(request, "configs/entry.html", **content, values=values, found=problems)


def known(path: str, entries: Mapping[str, Entry]) -> Entry:
    """Return an entry. Raises ``HTTPException`` if there is none."""
    if path not in entries:
        raise HTTPException(404, f"The config store has no entry '{path[:200]}'.")
    return entries[path]


def _effective(
    request: Request, store: ConfigStore, path: str, texts: Mapping[str, str]
) -> tuple[list[EffectiveValue], Iterable[Problem]]:
    try:
        with COMPOSING:
            return effective_values(path, texts, search_path(store.location, settings_of(request).config_dirs)), ()
    except BadInput as wrong:
        return [], wrong.problems


def matrix_page(request: Request) -> Response:
    """Show the entries of a group side by side; the values are loaded when the page is there."""
    store, group = store_of(request), request.path_params["group"]
    paths = [path for path in (store.entries() if store.exists else {}) if path.rpartition("/")[0] == group]
    if not paths:
        raise HTTPException(404, f"The config store has no group '{group[:200]}'.")
    wanted = request.query_params.get("q", "").strip()
    return render(request, "configs/matrix.html", group=group, count=len(paths), wanted=wanted)


def matrix_table(request: Request) -> Response:
    """Show the table of a matrix: a row for each key, a column for each entry, own values marked."""
    group, wanted = request.path_params["group"], request.query_params.get("q", "").strip()
    found, problems = apart_of(request).run(composing.matrix, place_of(request), group)
    columns = {
        path: {value.key: value for value in values}
        for path, values in sorted(found.items(), key=lambda item: (item[0].rpartition("/")[2] != "default", item[0]))
        if not wanted or wanted in path or fnmatchcase(path, wanted)
    }
    keys = sorted({key for values in columns.values() for key in values})
    return render(request, "configs/matrix_table.html", columns=columns, keys=keys, found=problems)
