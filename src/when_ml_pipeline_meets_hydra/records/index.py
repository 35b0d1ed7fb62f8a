"""A disposable index of the records, ``<home>/cache/runs.sqlite``: what lists and filters need of each run.

It is never a source of truth. An entry is used only if its checksum is right and the files that it was made from have
not changed; any other is made again from the record. Without an index, or with one that is damaged, locked or
read-only, all entries are.
"""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.records.annotations import ANNOTATIONS
from when_ml_pipeline_meets_hydra.records.lookup import is_run, record_of
from when_ml_pipeline_meets_hydra.records.record import RunStatus
from when_ml_pipeline_meets_hydra.records.record_files import HEAD, JOBS, STEPS

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record

INDEX = "runs.sqlite"
_VERSION = 2  # of the tables, and of the entries
_TABLES = ("summaries", "facts")
_CHUNK = 500  # runs that are looked up, and written, at once
_PATIENCE = 2.0  # seconds to wait for another process that writes
_RACY = 2.0  # seconds in which a file may change again and keep its times
_FOLDER = "."  # changes when a file in it is made or replaced
_SEALED, _OPEN = (_FOLDER, HEAD), (_FOLDER, HEAD, ANNOTATIONS, JOBS, STEPS)
# Errors that are no damage: another process is writing, or nothing can be written here.
_NO_DAMAGE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_PROTOCOL),
}


class Kind(NamedTuple):
    """A kind of entries: the table that keeps them, and what makes one from a record."""

    table: Literal["summaries", "facts"]
    make: Callable[[Record], bytes]


class _Entry(NamedTuple):
    """An entry of a run; ``state`` is that of the files from which it was made."""

    run: str
    state: str
    content: bytes

    @property
    def checksum(self) -> int:
        return zlib.crc32(self.content, zlib.crc32(f"{self.run}\n{self.state}".encode(errors="replace")))


class RunIndex:
    """Reads entries of runs, through the index where it has them; those that are new are added to it.

    A context manager; ``left_out`` is called with the error of each damaged record.
    """

    def __init__(self, home: Path, left_out: Callable[[BadInput], None]) -> None:
        self._home, self._left_out = home, left_out
        self._runs = f"{home}/runs"
        self._file = home / "cache" / INDEX
        self._database: sqlite3.Connection | None = None
        self._is_usable = True

    def __enter__(self) -> RunIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, kind: Kind, runs: Sequence[str], most: int | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield the entries of some runs, in their order; folders without a record, and damaged ones, are left out.

        ``most`` is how many are needed, if not all.
        """
        size = _CHUNK if most is None else min(most, _CHUNK)
        for start in range(0, len(runs), size):
            yield from self._read(kind, runs[start : start + size])

    def forget_others(self, runs: Sequence[str]) -> None:
        """Remove the entries of runs that are not among ``runs``, if they are many."""
        if (database := self._opened()) is None:
            return
        for table in _TABLES:
            with self._guarded():
                (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
                if count > len(runs) + _CHUNK:
                    kept = set(runs)
                    gone = [row for row in database.execute(f"SELECT run FROM {table}") if row[0] not in kept]
                    database.execute("BEGIN IMMEDIATE")
                    database.executemany(f"DELETE FROM {table} WHERE run = ?", gone)
                    database.execute("COMMIT")

    def _read(self, kind: Kind, runs: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        known = self._entries(kind, runs)
        new: list[_Entry] = []
        try:
            for run in runs:
                entry = known.get(run)
                if entry is None or not _is_fresh(f"{self._runs}/{run}", entry.state):
                    now = time.time_ns()
                    if (entry := self._made(kind, run)) is None:
                        continue
                    if _changed(entry.state) < now - int(_RACY * 1e9):
                        new.append(entry)
                yield run, entry.content
        finally:  # also where the caller needs no more
            self._write(kind, new)

    def _made(self, kind: Kind, run: str) -> _Entry | None:
        if not is_run(self._home, run):
            return None
        # From before it is read: where a file changes meanwhile, this is not the state of its content.
        states = {name: _state(f"{self._runs}/{run}", name) for name in _OPEN}
        record = record_of(self._home, run)
        try:
            content = kind.make(record)
            is_open = record.head["status"] == RunStatus.RUNNING  # jobs and steps of others are sealed
        except BadInput as error:
            self._left_out(error)
            return None
        watched = _OPEN if is_open else (*_SEALED, ANNOTATIONS) if states[ANNOTATIONS] else _SEALED
        return _Entry(run, " ".join(f"{name}={states[name]}" for name in watched), content)

    def _entries(self, kind: Kind, runs: Sequence[str]) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        if (database := self._opened()) is not None:
            marks = ",".join("?" * len(runs))
            query = f"SELECT run, state, content, checksum FROM {kind.table} WHERE run IN ({marks})"
            with self._guarded():
                for run, state, content, checksum in database.execute(query, runs).fetchall():
                    if isinstance(run, str) and isinstance(state, str) and isinstance(content, bytes):
                        entry = _Entry(run, state, content)
                        if entry.checksum == checksum:
                            found[run] = entry
        return found

    def _write(self, kind: Kind, entries: Iterable[_Entry]) -> None:
        rows = [(*entry, entry.checksum) for entry in entries]
        if not rows or (database := self._opened(create=True)) is None:
            return
        with self._guarded():
            database.execute("BEGIN IMMEDIATE")
            database.executemany(f"INSERT OR REPLACE INTO {kind.table} VALUES (?, ?, ?, ?)", rows)
            database.execute("COMMIT")

    def _opened(self, *, create: bool = False) -> sqlite3.Connection | None:
        """The database; None if there is none, or none that can be used."""
        if self._database is None and self._is_usable and (create or self._file.is_file()):
            with self._guarded():
                with suppress(OSError):
                    self._file.parent.mkdir(exist_ok=True)
                self._database = sqlite3.connect(self._file, timeout=_PATIENCE, isolation_level=None)
                self._database.text_factory = lambda text: text.decode(errors="replace")
                self._database.execute("PRAGMA synchronous = OFF")  # what a crash damages is made again
                self._prepare(self._database)
        return self._database

    def _prepare(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == _VERSION:
            return
        if version:
            raise sqlite3.DatabaseError("tables of another version")
        database.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            columns = "run TEXT PRIMARY KEY, state TEXT, content BLOB, checksum INTEGER"
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Do without the index after an error, and remove a damaged one."""
        try:
            yield
        except sqlite3.Error as error:
            self._is_usable = False
            self._close()
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _NO_DAMAGE:
                for ending in ("", "-journal"):
                    with suppress(OSError):
                        self._file.with_name(INDEX + ending).unlink()

    def _close(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def _state(folder: str, name: str) -> str:
    """What changes when a file does; empty if there is none."""
    try:
        at = os.stat(f"{folder}/{name}")  # noqa: PTH116 (Path.stat costs twice as much)
    except OSError:
        return ""
    return f"{at.st_ctime_ns},{at.st_size},{at.st_ino}"


def _is_fresh(folder: str, state: str) -> bool:
    return all(_state(folder, name) == at for name, _, at in (part.partition("=") for part in state.split(" ")))


def _changed(state: str) -> int:
    """When the last of the files changed."""
    return max(int(at.partition(",")[0] or 0) for _, _, at in (part.partition("=") for part in state.split(" ")))
