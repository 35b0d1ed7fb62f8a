"""The environment variables that the program itself reads, before composing."""

from __future__ import annotations

import os
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, local_path

HOME = "WMH_HOME"
PACKAGES = "WMH_PACKAGES"
CONFIG_STORE = "WMH_CONFIG_STORE"
SERVE_PW = "WMH_SERVE_PW"
WEB_PW = "WMH_WEB_PW"
PROJECT = "WMH_PROJECT"  # the folder of the project; set by the program itself


def home() -> Path:
    """The folder of results and records, for commands that compose no config. Raises ``BadInput``."""
    text = os.environ.get(HOME) or ".pipeline"
    try:
        return local_path(text).absolute()
    except (ValueError, RuntimeError) as error:
        raise BadInput(Problem(key=f"${HOME}", value=text, message=str(error))) from error


def cache_folder(name: str) -> Path:
    """A folder of the program in the user's cache folder. Raises ``RuntimeError`` if the user has none."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if not base.is_absolute():
        raise RuntimeError("there is no cache folder")
    return base / __name__.partition(".")[0] / name


def packages() -> list[str]:
    """The packages besides this one whose code a ``_target_`` may name."""
    return os.environ.get(PACKAGES, "").replace(",", " ").split()
