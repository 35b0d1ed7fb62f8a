"""Remembers the result of a check of folders of option files, until anything that it depends on changes.

It is in the user's cache folder; losing it only costs time. A result with a secret is not kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from when_ml_pipeline_meets_hydra.binding.targets import OWN
from when_ml_pipeline_meets_hydra.cache import fingerprint
from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, PACKAGES, cache_folder, packages
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.storage import durable_files

FORMAT = 1


def checked(folders: Sequence[str], check: Callable[[], Sequence[Problem]]) -> Sequence[Problem]:
    """Return the problems that ``check`` returns, or those of the last time if nothing has changed since."""
    started = time.time()
    try:
        folder = cache_folder("checks")
        fingerprint.make_key(folder)
        file = fingerprint.file_of(folder, FORMAT, *folders)
        dependencies = _dependencies(folders)
        before = fingerprint.state(dependencies, folder) if dependencies else None
    except (OSError, ValueError, RuntimeError):
        return check()
    if before and (known := _known(file, before["digest"])) is not None:
        return known
    problems = check()
    text = json.dumps({"digest": before["digest"] if before else None, "problems": [asdict(p) for p in problems]})
    if before and before["newest"] < started - 1 and Redactor().text(text) == text:
        try:
            durable_files.write(file, text.encode())
        except OSError:
            return problems  # a full disk
    return problems


def _dependencies(folders: Sequence[str]) -> dict[str, list[str]] | None:
    search = [entry if "://" in entry else f"file://{Path(entry).absolute()}" for entry in folders]
    if (named := fingerprint.variables((), {}, search)) is None:
        return None
    return {
        "variables": sorted({PACKAGES, CONFIG_STORE, *named}),
        "options": fingerprint.option_folders(search),
        "checkouts": [],
        "packages": sorted({OWN, "hydra_plugins", *packages()}),
        "data": [],
    }


def _known(file: Path, digest: str) -> list[Problem] | None:
    try:
        found = json.loads(file.read_bytes())
        return [Problem(**{**p, "jobs": ()}) for p in found["problems"]] if found["digest"] == digest else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
