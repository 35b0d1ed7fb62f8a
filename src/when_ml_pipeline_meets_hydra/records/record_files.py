"""The files of a run's record: reads them, and names one that is damaged; makes the folder of a new one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.storage import seals

HEAD, JOBS, STEPS, TRIALS = "run.json", "jobs.jsonl", "steps.jsonl", "trials.jsonl"
# What an object in a file has at least.
_TYPES: dict[str, dict[str, type | tuple[type, ...]]] = {
    HEAD: {
        **{"id": str, "status": str, "folder": str, "started": str, "process": dict, "versions": dict},
        **{"overrides": list, "multirun": bool, "config_dirs": list, "stages": list, "job_count": int},
    },
    JOBS: {"number": int, "stage": str, "combination": int, "overrides": list, "choices": dict},
    STEPS: {"stage": str, "subcommand": str, "key": str, "jobs": list, "status": str, "seconds": (int, float)},
    TRIALS: {"trial": int, "status": str, "values": dict, "seconds": (int, float)},
}


def damaged(folder: Path, name: str) -> BadInput:
    """Return the error of a damaged file of a record."""
    remedy = f"Remove the folder {folder}; stored results are not in it"
    return BadInput(Problem(key=str(folder / name), message="this record is damaged", remedy=remedy))


def read_head(folder: Path) -> dict[str, Any]:
    """Return the content of ``run.json``. Raises ``BadInput`` if it is damaged: if any byte has changed."""
    with suppress(OSError):
        content = seals.opened_or_old((folder / HEAD).read_bytes())
        if content is not None and _is_whole(content, HEAD):
            return content
    raise damaged(folder, HEAD)


def read_lines(folder: Path, name: str, digest: str | None, end: str = "\0") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each line of a file as an object without what follows ``end``, and the text that does.

    A last line that a killed process left unfinished is left out. Raises ``BadInput`` at a damaged one, and if the file
    has another ``digest`` (None: it is not known, as while a run is writing).
    """
    try:
        if not seals.is_as_written(folder / name, digest):
            raise damaged(folder, name)
        with (folder / name).open(encoding="utf-8", errors="replace", newline="\n") as file:
            for line in file:
                if line.endswith("\n"):
                    head, separator, rest = line[:-1].partition(end)
                    if not _is_whole(content := json.loads(head + "}" if separator else head), name):
                        raise damaged(folder, name)
                    yield content, rest
    except (OSError, ValueError, RecursionError):
        raise damaged(folder, name) from None


def _is_whole(content: Any, name: str) -> bool:
    types: Mapping[str, type | tuple[type, ...]] = _TYPES[name]
    return isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in types.items())


def new_folder(runs: Path, prefix: str | None = None) -> Path:
    """Make the folder of a run, named by its start, ``20261129-031500-1234``, so that names sort by time.

    The ``prefix`` of a job file stands at its end.
    """
    while True:
        now = datetime.now(UTC)  # local time is set back once a year, and differs between hosts
        folder = runs / f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 100:04}{f'-{prefix}' if prefix else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
