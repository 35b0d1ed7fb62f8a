"""The home folder, which holds results, run records and the local model repository."""

from __future__ import annotations

from pathlib import Path

_GITIGNORE = "# Created by when_ml_pipeline_meets_hydra: results and records are not for a repository.\n*\n"


def make_home(home: Path) -> None:
    """Create the home folder, with a ``.gitignore`` for all that it holds; an existing folder is left as it is."""
    try:
        home.mkdir(parents=True)
    except FileExistsError:
        return
    (home / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
