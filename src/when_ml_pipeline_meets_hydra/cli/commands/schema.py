"""``schema``: what an editor needs to complete and check option files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.config_dir import ConfigDir
from when_ml_pipeline_meets_hydra.cli.project import current_project


def schema(
    config_dir: ConfigDir = None,
    out: Annotated[Path | None, typer.Option("--out", help="A folder; .vscode of the project otherwise")] = None,
) -> None:
    """Write a JSON Schema of the options of each group, and name them in the settings of VS Code.

    The YAML extension of VS Code, and any editor with the YAML language server, then completes and checks the keys of
    option files. Other settings are kept.
    """
    from when_ml_pipeline_meets_hydra.checking.editor_settings import write_schemas
    from when_ml_pipeline_meets_hydra.checking.schemas import globs, group_schemas
    from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

    if not config_dir:
        remedy = "Give --config-dir, or name config_dirs in [tool.wmh] of pyproject.toml"
        raise BadInput(
            Problem(key="--config-dir", message="there is no folder of option files of yours", remedy=remedy)
        )
    project = current_project()
    root = project.root if project else Path.cwd()
    folders = [str(Path(folder).absolute()) if "://" not in folder else folder for folder in config_dir]
    schemas = group_schemas(folders)
    written = write_schemas((out or root / ".vscode").absolute(), root, schemas, globs(schemas, folders, root))
    print(f"{len(written) - 1} schemas, and {written[-1]}", file=sys.stderr)
