"""The option ``--config-dir`` of our own commands, with the folders of the project."""

from __future__ import annotations

from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.project import with_project_folders

ConfigDir = Annotated[
    list[str] | None,
    typer.Option("--config-dir", callback=with_project_folders, help="A folder of your option files"),
]
