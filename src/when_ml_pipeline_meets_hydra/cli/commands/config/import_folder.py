"""``config import``: entries from a folder of option files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import (
    AsJson,
    ConfigDir,
    Message,
    Publish,
    StoreOption,
    finish_draft,
    store_at,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def import_folder(
    folder: Annotated[Path, typer.Argument(help="A folder of option files, as for --config-dir")],
    delete: Annotated[bool, typer.Option("--delete", help="Also remove entries that the folder lacks")] = False,
    message: Message = "",
    publish: Publish = False,
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Propose the option files of a folder as entries; those that the store has already are left as they are."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store import workflow
    from when_ml_pipeline_meets_hydra.config_store.folders import read_folder

    opened = store_at(store)
    if not (found := read_folder(folder)):
        message, remedy = "there is no option file in it", "Their names end in .yaml"
        raise BadInput(Problem(key="folder", value=str(folder), message=message, remedy=remedy))
    known = {path: entry.text for path, entry in opened.entries().items()} if opened.exists else {}
    texts: dict[str, str | None] = {path: text for path, text in found.items() if known.get(path) != text}
    texts |= dict.fromkeys(known.keys() - found.keys()) if delete else {}
    if not texts:
        if as_json:
            print_json({"draft": None, "revision": None})
        else:
            print(f"nothing to import: the store has the {len(found)} entries of {folder}")
        return
    dirs = config_dir or []
    number = workflow.propose(opened, texts, message or f"import of {folder.name or folder}", config_dirs=dirs)
    finish_draft(opened, number, publish=publish, as_json=as_json, config_dirs=dirs)
