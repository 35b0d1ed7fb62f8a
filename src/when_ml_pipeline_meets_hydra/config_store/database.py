"""The database of a config store: SQLite or PostgreSQL, with one writer at a time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, home
from when_ml_pipeline_meets_hydra.composing.store_entry import DEFAULT, PATIENCE, VERSION, VERSIONS, StoreEntry
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, first_line

_LOCK = int.from_bytes(b"wmhconfi", "big", signed=True)  # of PostgreSQL's advisory locks


class Database:
    """Transactions on a store. Raises ``BadInput`` where the database cannot be opened, read or written."""

    def __init__(self, entry: StoreEntry) -> None:
        self.entry = entry
        arguments = {"connect_timeout": 10} if entry.is_postgres else {"timeout": PATIENCE}
        with self._reported():
            self._engine = sa.create_engine(_url(entry), poolclass=NullPool, connect_args=arguments)
        if not entry.is_postgres:
            sa.event.listen(self._engine, "connect", _leave_transactions_to_us)

    @property
    def exists(self) -> bool:
        """Whether there is a store, rather than an empty database or no file."""
        if not self.entry.is_postgres and not self.entry.file.is_file():
            return False
        with self._reported(), self._engine.connect() as connection:
            return bool(sa.inspect(connection).has_table(VERSIONS))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that reads one state of the store."""
        if not self.exists:
            raise self.entry.missing()
        with self._reported(), self._engine.connect() as connection:
            if self.entry.is_postgres:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                connection.exec_driver_sql("BEGIN")
            self.entry.check_version(_version(connection))
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes, alone: all of it is kept, or nothing. Makes the store, or updates its tables."""
        with self._reported():
            self._make_file()
            with self._engine.connect() as connection:
                if self.entry.is_postgres:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                else:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._upgrade(connection)
                yield connection
                connection.commit()

    def _upgrade(self, connection: sa.Connection) -> None:
        if sa.inspect(connection).has_table(VERSIONS):
            version = _version(connection)
            self.entry.check_version(version)
            if version == VERSION:
                return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", f"{__package__}:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    def _make_file(self) -> None:
        """Create the file of a store, readable by its owner alone. Raises ``BadInput`` if it would not be kept."""
        if self.entry.is_postgres or self.entry.file.exists():
            return
        file = self.entry.file.absolute()
        if file.resolve().is_relative_to(home().resolve()):
            message = "it would be among the results of runs, which are a cache that people delete"
            remedy = f"Give a file elsewhere, such as {DEFAULT}"
            raise BadInput(Problem(key=CONFIG_STORE, value=self.entry.shown, message=message, remedy=remedy))
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            reason = first_line(getattr(error, "orig", None) or error)
            message = f"the config store cannot be used: {reason}"
            raise BadInput(Problem(key=CONFIG_STORE, value=self.entry.shown, message=message)) from error
        except ModuleNotFoundError as error:
            message, remedy = f"{error.name} is not installed", "Install the extra postgres"
            raise BadInput(Problem(key=CONFIG_STORE, value=self.entry.shown, message=message, remedy=remedy)) from error


def _url(entry: StoreEntry) -> sa.URL:
    if entry.is_postgres:
        return sa.make_url(entry.postgres_url).set(drivername="postgresql+psycopg")
    return sa.URL.create("sqlite", database=str(entry.file.absolute()))


def _version(connection: sa.Connection) -> str | None:
    """The version of the tables."""
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSIONS}")).scalar()
    return None if found is None else str(found)


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    """Have sqlite3 begin no transactions by itself, so that a writer begins as one."""
    connection.isolation_level = None


def next_number(connection: sa.Connection, table: sa.Table) -> int:
    """The next number in a table, in a transaction that writes."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0))).scalar_one()) + 1


def new_token() -> str:
    """A random name, which no other publication or edit has."""
    return uuid.uuid4().hex


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
