"""The environment variables that the program itself reads, before composing."""

from __future__ import annotations

import os
from pathlib import Path

HOME = "WMH_HOME"
PACKAGES = "WMH_PACKAGES"
SERVE_PW = "WMH_SERVE_PW"


def home() -> Path:
    """The folder of results and records, for commands that compose no config."""
    return Path(os.environ.get(HOME) or ".pipeline").absolute()


def packages() -> list[str]:
    """The packages besides this one whose code a ``_target_`` may name."""
    return os.environ.get(PACKAGES, "").replace(",", " ").split()
