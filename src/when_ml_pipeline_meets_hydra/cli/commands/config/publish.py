"""``config publish``: a draft becomes the next revision."""

from __future__ import annotations

from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config.options import AsJson, ConfigDir, StoreOption, store_at


def publish(
    draft: Annotated[int, typer.Argument(min=1, help="The number of the draft")],
    message: Annotated[str | None, typer.Option("--message", "-m", help="What the change is for")] = None,
    config_dir: ConfigDir = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Check every combination that uses the draft's entries, and publish all of them at once."""
    from when_ml_pipeline_meets_hydra.cli.output.consoles import print_json
    from when_ml_pipeline_meets_hydra.config_store import workflow

    revision = workflow.publish(store_at(store), draft, message, config_dir or ())
    if as_json:
        print_json({"draft": draft, "revision": revision})
    else:
        print(f"revision {revision} is published")
