"""Databases that are files."""

from __future__ import annotations

from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem


def existing(path: Path, *, make_folder: bool) -> Path:
    """The whole path of a file, which has to exist unless it may be made. Raises ``BadInput``."""
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        message = "this is a directory, a file is needed" if path.is_dir() else "there is no such file"
        raise BadInput(Problem(key="path", value=str(path), message=message))
    return path.absolute()
