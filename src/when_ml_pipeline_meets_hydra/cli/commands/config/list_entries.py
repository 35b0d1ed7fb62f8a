"""``config list``: the entries of a config store."""

from __future__ import annotations

from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import AsJson, StoreOption, store_at


def list_entries(
    pattern: Annotated[str, typer.Argument(help="Which entries, as customer/*")] = "*",
    uses: Annotated[str, typer.Option("--uses", help="Only entries that include this one, directly or not")] = "",
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """List the entries, each with the revision and the author of its text, and its first comment."""
    from fnmatch import fnmatchcase

    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json, print_rows
    from when_ml_pipeline_meets_hydra.composing.tree import described_by
    from when_ml_pipeline_meets_hydra.config_store.combinations import users_of
    from when_ml_pipeline_meets_hydra.config_store.entries import checked_path, included

    opened = store_at(store)
    entries = opened.entries()
    texts = {path: entry.text for path, entry in entries.items()}
    wanted = users_of([checked_path(uses)], texts) - {uses} if uses else set(texts)
    authors = {revision.number: revision for revision in opened.history()}
    rows = []
    for path, entry in entries.items():
        if path in wanted and fnmatchcase(path, pattern):
            by = authors[entry.revision]
            includes = sorted(p for p in included(path, entry.text) if p in texts)
            head = {"entry": path, "revision": entry.revision, "author": by.author, "published": by.published}
            rows.append({**head, "includes": includes, "description": described_by(entry.text)})
    if as_json:
        print_json(rows)
        return
    names = ("entry", "revision", "author", "includes", "description")
    shown = [[", ".join(v) if isinstance(v := row[n], list) else str(v) for n in names] for row in rows]
    print_rows(("entry", "revision", "by", "includes", "description"), shown)
