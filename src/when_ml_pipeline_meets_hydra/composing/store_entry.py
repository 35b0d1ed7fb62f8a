"""Entries of the search path that name a config store: ``configs://``, ``configs://configs.db@12``, ``…@draft-3``.

Reading a store takes the driver of its database alone (``sqlite3``, ``psycopg``), so that fast commands stay fast.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, first_line
from when_ml_pipeline_meets_hydra.masking import MASK, without_passwords
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

SCHEME = "configs"
CONFIGURED = f"{SCHEME}://"
#: The store of a project, in the folder in which its commands are run.
DEFAULT = "configs.db"
PATIENCE = 60  # s, for the lock of another writer
#: The newest version of the tables, in ``config_store/migrations/versions``.
VERSION = "1"
#: The table that says the version.
VERSIONS = "alembic_version"

_PIN = re.compile(r"@(?:(draft)-)?(\d{1,18})$")
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+psycopg)?://")
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///")
_HOST = r"(?:\[[\da-fA-F:.]+\]|[^\s/@:?#,\[\]]*)(?::\d+)?"
_NAMES = r"[^\s/@:?#]*"  # a user, password or database; other characters are written as %40
_ADDRESS = re.compile(rf"(?:{_NAMES}(?::{_NAMES})?@)?{_HOST}(?:,{_HOST})*(?:/{_NAMES})?(?:\?[^\s#]*)?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


@dataclass(frozen=True, kw_only=True)
class StoreEntry:
    """A config store and what of it is read: the newest revision, the one numbered ``revision``, or a ``draft``."""

    location: str
    revision: int | None = None
    draft: int | None = None

    @classmethod
    def parse(cls, entry: str) -> StoreEntry:
        """Return the parsed entry; without a location it is the store of $WMH_CONFIG_STORE, or ``configs.db``."""
        text = entry.removeprefix(CONFIGURED)
        pin = _PIN.search(text)
        location = (text[: pin.start()] if pin else text) or os.environ.get(CONFIG_STORE) or DEFAULT
        number = int(pin[2]) if pin else None
        is_draft = bool(pin and pin[1])
        found = cls(location=location, revision=None if is_draft else number, draft=number if is_draft else None)
        return found._checked()

    def _checked(self) -> StoreEntry:
        """Return self. Raises ``BadInput`` if the location is the URL of no database that can be used."""
        scheme = _SCHEME.match(self.location)
        if self.is_postgres and not _ADDRESS.fullmatch(_POSTGRES.sub("", self.location)):
            message = "it is no URL of a database"
            remedy = "Write postgresql://USER@HOST:PORT/DATABASE, with other characters such as @ and / as %40 and %2F"
        elif scheme and not self.is_postgres and not _SQLITE.match(self.location):
            message = f"{scheme[1]}:// is not supported here"
            remedy = "Give a file, or postgresql://USER@HOST/DATABASE"
        else:
            return self
        shown = f"{scheme[1]}://{MASK}" if scheme else MASK  # whatever it is, a password may be in it
        raise BadInput(Problem(key=CONFIG_STORE, value=shown, message=message, remedy=remedy))

    def missing(self) -> BadInput:
        """The error that there is no store, only another place or nothing."""
        remedy = "Make one: wmh config import DIR --publish, or wmh config edit GROUP/NAME"
        return BadInput(
            Problem(key=CONFIG_STORE, value=self.shown, message="there is no such config store", remedy=remedy)
        )

    def check_version(self, version: str | None) -> None:
        """Raise ``BadInput`` if tables are of a version that this program does not know, or of another program."""
        if version is not None and version.isdigit() and int(version) <= int(VERSION):
            return
        message, remedy = f"its tables have version {version}, which is newer than this program", "Update the program"
        if version is None or not version.isdigit():
            message, remedy = "the database is that of another program", "Give a database of its own"
        raise BadInput(Problem(key=CONFIG_STORE, value=self.shown, message=message, remedy=remedy))

    @property
    def is_postgres(self) -> bool:
        """Whether the store is in a PostgreSQL database."""
        return _POSTGRES.match(self.location) is not None

    @property
    def file(self) -> Path:
        """The file of a SQLite store. Raises ``BadInput`` for a home folder that does not exist."""
        file = Path(_SQLITE.sub("", self.location))
        try:
            return file.expanduser()
        except RuntimeError as error:  # of a user that is unknown: ~nobody/configs.db
            raise BadInput(Problem(key=CONFIG_STORE, value=str(file), message=str(error))) from error

    @property
    def shown(self) -> str:
        """The location without a password."""
        return without_passwords(self.location) if self.is_postgres else str(self.file)

    @property
    def postgres_url(self) -> str:
        """The URL of a PostgreSQL database, as its driver reads it."""
        return _POSTGRES.sub("postgresql://", self.location)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A function that runs a statement and returns the rows, in one transaction that reads. Raises ``BadInput``."""
        try:
            with closing(self._connection()) as connection:
                cursor = connection.cursor()
                cursor.execute("BEGIN" if not self.is_postgres else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

                def rows(statement: str) -> Sequence[Any]:
                    cursor.execute(statement)
                    return list(cursor.fetchall())

                yield rows
        except _errors() as error:
            message, remedy = f"the config store cannot be read: {first_line(error)}", "wmh config list says more"
            raise BadInput(Problem(key=CONFIG_STORE, value=self.shown, message=message, remedy=remedy)) from error

    def _connection(self) -> Any:
        if self.is_postgres:
            try:
                import psycopg
            except ImportError as error:
                message, remedy = (
                    "it is a PostgreSQL database, and psycopg is not installed",
                    "Install the extra postgres",
                )
                raise BadInput(Problem(key=CONFIG_STORE, value=self.shown, message=message, remedy=remedy)) from error
            return psycopg.connect(self.postgres_url, connect_timeout=10)
        import sqlite3

        if not self.file.is_file():
            raise self.missing()
        path = self.file.absolute().as_uri()
        return sqlite3.connect(f"{path}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None)


def _errors() -> tuple[type[Exception], ...]:
    """The errors of the drivers that are loaded."""
    import sys

    names = {"sqlite3": "Error", "psycopg": "Error"}
    return tuple(getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules)


def is_store(entry: str) -> bool:
    """Whether an entry of the search path names a config store."""
    return entry.startswith(CONFIGURED)


def configured(entries: Sequence[str]) -> tuple[str, ...]:
    """The entry of the store in $WMH_CONFIG_STORE, unless one of ``entries`` names a store already."""
    is_set = bool(os.environ.get(CONFIG_STORE)) and not any(map(is_store, entries))
    return (CONFIGURED,) if is_set else ()
