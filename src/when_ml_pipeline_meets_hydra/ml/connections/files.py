"""Paths of databases that are files."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def existing(path: Path, *, make_folder: bool) -> Path:
    """Return the absolute path of a file. Raises ``BadInput`` if it does not exist, unless ``make_folder``."""
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        message = "this is a directory, a file is needed" if path.is_dir() else "there is no such file"
        raise BadInput(Problem(key="path", value=str(path), message=message))
    return path.absolute()
