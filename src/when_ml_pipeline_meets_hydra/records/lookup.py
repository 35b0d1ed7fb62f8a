"""Find records by their ids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.records.record_files import HEAD

_MOST_NAMED = 10  # runs in a message


def run_ids(home: Path) -> list[str]:
    """Return the names of all folders of runs, the newest last; some may have no record yet."""
    with suppress(OSError), os.scandir(home / "runs") as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
    return []


def read_records(home: Path) -> Iterator[Record]:
    """Yield all records, the newest last."""
    for name in run_ids(home):
        if is_run(home, name):
            yield record_of(home, name)


def record_of(home: Path, run: str) -> Record:
    """Return the record with an id of ``run_ids``."""
    return Record(home / "runs" / run)


def is_run(home: Path, name: str) -> bool:
    """Whether a folder of ``run_ids`` has a record."""
    return (home / "runs" / name / HEAD).is_file()


def find_record(home: Path, name: str) -> Record:
    """Return the record with the id ``name`` (or a unique part of it), or the ``last`` one.

    Raises ``BadInput`` if there is none, or if it is damaged.
    """
    names = run_ids(home)
    found = [n for n in names if n == name and is_run(home, n)]
    if name == "last":
        found = [n for n in (next((n for n in reversed(names) if is_run(home, n)), None),) if n]
    found = found or [n for n in names if (n.startswith(name) or n.endswith(name)) and is_run(home, n)]
    if len(found) == 1:
        record = record_of(home, found[0])
        record.head  # noqa: B018 - read before anything else of a record that may be damaged
        return record
    if found:
        more = f" and {len(found) - _MOST_NAMED} earlier ones" if len(found) > _MOST_NAMED else ""
        message = f"several runs match: {', '.join(found[-_MOST_NAMED:])}{more}"
        raise BadInput(Problem(key=name, message=message, remedy="Give more of the id"))
    remedy = did_you_mean(name, names[-_MOST_NAMED:])
    raise BadInput(Problem(key=name, message=f"there is no such run in {home}", remedy=remedy))
