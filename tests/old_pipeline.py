"""A copy of the small pipeline that is old enough to be trusted, and changes to it that have to be noticed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from small_pipeline import SMALL, install, write

COPIES: list[Path] = []
MANY = 30


def copy_of_small(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A copy of the small pipeline, with its option files in ``conf``; processes that are started find its code.

    Many are made at once, since tests wait until theirs is old.
    """
    files = [file for file in SMALL.rglob("*") if file.suffix in (".py", ".yaml")]
    if not COPIES:
        COPIES.extend(folder.parent / f"small-{folder.name}-{number}" for number in range(MANY))
        for copy in COPIES:
            write(copy, {str(file.relative_to(SMALL)): file.read_text() for file in files})
    package = COPIES.pop()
    install(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(package))
    return package


def wait_until_old(*folders: Path) -> None:
    """Files that changed within the last second are not trusted."""
    newest = max(file.stat().st_ctime for folder in folders for file in folder.rglob("*"))
    time.sleep(max(0.0, newest + 1.3 - time.time()))


LOADED = """
import sys
from when_ml_pipeline_meets_hydra.cli import main
code = main(sys.argv[1:])
slow = {"hydra", "pydantic", "omegaconf"}
print("loaded", *sorted(slow & set(sys.modules)), file=sys.stderr)
raise SystemExit(code)
"""


class Ended(NamedTuple):
    """A command that has run, and which slow modules it loaded."""

    code: int
    out: str
    err: str
    loaded: frozenset[str]


def command(*words: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    err, _, loaded = done.stderr.rpartition("loaded")
    return Ended(done.returncode, done.stdout, err, frozenset(loaded.split()))


def edit_an_option(conf: Path) -> None:
    file = conf / "conf" / "fit" / "knobs" / "gentle.yaml"
    file.write_text(file.read_text().replace("0.5", "0.6"))


def add_an_option(conf: Path) -> None:
    write(conf / "conf", {"fit/knobs/another.yaml": "# @package knobs\n"})


def edit_the_code(conf: Path) -> None:
    for file in (conf / "small").glob("*.py"):
        file.write_text(file.read_text() + "\n# changed\n")


def set_a_variable(conf: Path) -> None:
    os.environ["WHO"] = "somebody"
