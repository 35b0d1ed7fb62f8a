"""The Protocols of database connections and sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType

if TYPE_CHECKING:
    import polars as pl

# Column → its type, or the database's own name of a type that has no DType.
Types = Mapping[str, DType | str]


class QueryFailed(StepFailed):
    """The database refused a query, or the connection was lost."""


class NoResponse(BadInput):
    """The database server does not respond at present."""


class ConnectionFailed(StepFailed):
    """No connection to a database; ``problems`` name the config key to correct.

    ``is_permanent``: the database responded, so that the same input will fail again.
    """

    def __init__(self, *problems: Problem, is_permanent: bool = True) -> None:
        super().__init__(*problems)
        self.problems, self.is_permanent = problems, is_permanent

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Session(Protocol):
    """An open connection. Every method raises ``QueryFailed`` with the database's own message."""

    def types(self, query: str) -> Types:
        """Return the columns of a query with their types, without reading rows. STRING if only values have types."""

    def row(self, query: str) -> Sequence[Any]:
        """Return the only row of a query."""

    def batches(self, query: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the result of a query, at most about ``rows`` rows at a time, so that memory is bounded."""

    def create(self, table: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """Create a table (its name is quoted already) and insert the rows, in one transaction."""


@runtime_checkable
class Connection(Protocol):
    """The address of a database and the user who connects."""

    def open(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Connect, for reading only unless ``write``.

        Raises ``BadInput`` if that fails, its subclass ``NoResponse`` if the server does not respond; the keys of
        their problems are relative to the connection (``pw``).
        """

    def place(self) -> Mapping[str, Any]:
        """Return what identifies the data, as JSON: host, database, user; no secrets. Does not connect."""


@contextmanager
def open_session(connection: Connection, *, write: bool = False) -> Iterator[Session]:
    """Open a session of the config key ``connection``. Raises ``ConnectionFailed``."""
    with ExitStack() as stack:
        try:
            session = stack.enter_context(connection.open(write=write))
        except BadInput as error:
            problems = map(_below_connection, error.problems)
            raise ConnectionFailed(*problems, is_permanent=not isinstance(error, NoResponse)) from error
        yield session


def _below_connection(problem: Problem) -> Problem:
    return replace(problem, key=f"connection.{problem.key}" if problem.key else "connection")
