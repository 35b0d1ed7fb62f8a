"""``config revert``: undo a revision."""

from __future__ import annotations

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


def revert(
    revision: Annotated[int, typer.Argument(min=1, help="The revision whose changes are undone")],
    message: Message = "",
    publish: Publish = False,
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Propose the texts from before a revision, byte by byte."""
    from when_ml_pipeline_meets_hydra.config_store import workflow

    opened = store_at(store)
    texts = workflow.texts_before(opened, revision)
    dirs = config_dir or []
    number = workflow.propose(opened, texts, message or f"revert of revision {revision}", config_dirs=dirs)
    finish_draft(opened, number, publish=publish, as_json=as_json, config_dirs=dirs)
