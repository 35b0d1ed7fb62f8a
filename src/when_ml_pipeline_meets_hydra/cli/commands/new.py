"""``new``: a project of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="The name of the project, and of its folder")],
    csv: Annotated[Path | None, typer.Option("--csv", help="A CSV file of yours, which is copied into it")] = None,
    target: Annotated[str | None, typer.Option("--target", help="The column to predict")] = None,
) -> None:
    """Write a project: option files and code of its own for each group, tests, and settings; ready to run.

    With --csv and --target it has the data set option of that file, with its columns, types and a suggested split.
    """
    from when_ml_pipeline_meets_hydra.scaffold.project import new_project, write_project

    folder = Path(name)
    project = new_project(folder.name, csv, target)
    write_project(project, folder)
    print(f"{folder} is a project. Go on:", file=sys.stderr)
    print(f"cd {folder}\nwmh train")
