"""``config history``: who published what, and when."""

from __future__ import annotations

from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import AsJson, StoreOption, store_at
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def history(
    entry: Annotated[str | None, typer.Argument(help="Only the revisions that changed this entry")] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many")] = 20,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """List the revisions, the newest first: who proposed, reviewed and published them, and which entries changed."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json, print_rows
    from when_ml_pipeline_meets_hydra.config_store.entries import checked_path

    revisions = store_at(store).history(checked_path(entry) if entry else None)[:last]
    if entry and not revisions:
        message = "the config store has had no such entry"
        raise BadInput(Problem(key="entry", value=entry, message=message, remedy="See wmh config list"))
    if as_json:
        names = ("number", "published", "author", "publisher", "reviewers", "message", "draft")
        print_json([{**{n: getattr(r, n) for n in names}, "texts": dict(r.texts)} for r in revisions])
        return
    rows = []
    for r in revisions:
        paths = list(r.texts)
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        by = r.author if r.author == r.publisher else f"{r.author}, published by {r.publisher}"
        by += f", reviewed by {', '.join(r.reviewers)}" if r.reviewers else ""
        rows.append((str(r.number), r.published, by, ", ".join(paths[:3]) + more, r.message))
    print_rows(("revision", "published", "by", "entries", "message"), rows)
