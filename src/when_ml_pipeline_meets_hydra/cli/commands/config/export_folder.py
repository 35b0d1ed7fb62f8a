"""``config export``: entries as a folder of option files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import AsJson, StoreOption, store_at
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def export_folder(
    folder: Annotated[Path, typer.Argument(help="The folder, which may be that of a git repository")],
    revision: Annotated[int | None, typer.Option("--revision", min=1, help="As it was in this revision")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Also delete option files of no entry")] = False,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Write the entries as option files, byte by byte; Hydra composes the same configs of them without the store."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store.folders import write_folder

    entries = store_at(store).entries(revision)
    if delete and not entries:
        message, remedy = "there are no entries, so that --delete would leave nothing", "Leave --delete out"
        raise BadInput(Problem(key="config export", message=message, remedy=remedy))
    try:
        written, deleted = write_folder(folder, {p: e.text for p, e in entries.items()}, delete=delete)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise BadInput(Problem(key="folder", value=str(error.filename or folder), message=message)) from error
    if as_json:
        print_json({"written": written, "deleted": deleted, "unchanged": len(entries) - len(written)})
    else:
        print(f"{len(entries)} entries are in {folder}: {len(written)} written, {len(deleted)} deleted")
