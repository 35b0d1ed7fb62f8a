"""``config show``: one entry, as it is written or with everything that it includes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import AsJson, ConfigDir, StoreOption, store_at
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean


def show(
    entry: Annotated[str, typer.Argument(help="GROUP/NAME, as customer/acme")],
    effective: Annotated[
        bool, typer.Option("--effective", help="Each key that it and what it includes set: value and origin")
    ] = False,
    revision: Annotated[int | None, typer.Option("--revision", min=1, help="As it was in this revision")] = None,
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Show the text of an entry, or its effective values with their origins."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json, print_rows
    from when_ml_pipeline_meets_hydra.config_store.effective import effective_values, search_path, shown
    from when_ml_pipeline_meets_hydra.config_store.entries import checked_path

    opened = store_at(store)
    entries = opened.entries(revision)
    path = checked_path(entry)
    if path not in entries:
        remedy = did_you_mean(path, entries)
        raise BadInput(Problem(key="entry", value=path, message="the config store has no such entry", remedy=remedy))
    if not effective:
        found = entries[path]
        if as_json:
            print_json({"entry": path, "revision": found.revision, "text": found.text})
        else:
            sys.stdout.write(found.text)
        return
    texts = {p: e.text for p, e in entries.items()}
    values = effective_values(path, texts, search_path(opened.location, config_dir or (), revision=revision))
    if as_json:
        print_json([{"key": v.key, "value": v.value, "origin": v.origin} for v in values])
    else:
        print_rows(("key", "value", "origin"), [(v.key, shown(v.value), v.origin or "") for v in values])
