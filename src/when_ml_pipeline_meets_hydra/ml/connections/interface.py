"""What every connection to a database can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType

if TYPE_CHECKING:
    import polars as pl

# What a database says about a column: its type, or the database's own name of a type that none corresponds to.
Types = Mapping[str, DType | str]


class QueryFailed(StepFailed):
    """The database refused a query, or went away in the middle of one."""


class NoAnswer(BadInput):
    """There is nobody at the place that the config names, now."""


class Unreachable(StepFailed):
    """A database to which there is no connection; ``problems`` say which config key is to blame.

    ``is_refused`` says that it answered, so that the same input will be refused again.
    """

    def __init__(self, *problems: Problem, is_refused: bool = True) -> None:
        super().__init__(*problems)
        self.problems, self.is_refused = problems, is_refused

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Session(Protocol):
    """An open connection. Every method raises ``QueryFailed`` with the database's own words."""

    def types(self, query: str) -> Types:
        """The columns of a query with their types; nothing is read. STRING: only the values tell."""

    def row(self, query: str) -> Sequence[Any]:
        """The only row of a query."""

    def batches(self, query: str, rows: int) -> Iterator[pl.DataFrame]:
        """The result of a query, at most about ``rows`` rows at a time, so that memory is bounded."""

    def create(self, table: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """Make a table (its name quoted already) and fill it, all or nothing."""


@runtime_checkable
class Connection(Protocol):
    """Where a database is, and who we are there."""

    def open(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Connect, for reading only unless ``write``.

        Raises ``BadInput`` where that fails, ``NoAnswer`` where nobody answered; the keys are relative to the
        connection (``pw``).
        """

    def place(self) -> Mapping[str, Any]:
        """What says which data are seen, as JSON: host, database, user; no secrets. Connects to nothing."""


@contextmanager
def opened(connection: Connection, *, write: bool = False) -> Iterator[Session]:
    """An open session of what stands at the config key ``connection``. Raises ``Unreachable``."""
    with ExitStack() as stack:
        try:
            session = stack.enter_context(connection.open(write=write))
        except BadInput as error:
            problems = map(_below_connection, error.problems)
            raise Unreachable(*problems, is_refused=not isinstance(error, NoAnswer)) from error
        yield session


def _below_connection(problem: Problem) -> Problem:
    return replace(problem, key=f"connection.{problem.key}" if problem.key else "connection")
