"""A session over the cursors of Python's database API (PEP 249)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import QueryFailed, Types

if TYPE_CHECKING:
    import polars as pl


class CursorSession:
    """``connection`` is an open one; ``error`` the class of all that its driver raises.

    ``dtype`` tells the type of a column from the cursor's description of it; ``reading`` opens the cursor that large
    results are read with.
    """

    def __init__(
        self,
        connection: Any,
        error: type[Exception],
        *,
        placeholder: str = "?",
        dtype: Callable[[Any], DType | str] = lambda _: DType.STRING,
        reading: Callable[[], Any] | None = None,
    ) -> None:
        self.connection, self.error, self.placeholder = connection, error, placeholder
        self._dtype, self._reading = dtype, reading or connection.cursor

    def types(self, query: str) -> Types:
        """The columns of a query with their types."""
        with self.refused(), closing(self.connection.cursor()) as cursor:
            cursor.execute(query)
            return {str(about[0]): self._dtype(about) for about in cursor.description}

    def row(self, query: str) -> Sequence[Any]:
        """The only row of a query."""
        with self.refused(), closing(self.connection.cursor()) as cursor:
            cursor.execute(query)
            return cursor.fetchone()  # type: ignore[no-any-return]

    def batches(self, query: str, rows: int) -> Iterator[pl.DataFrame]:
        """The result of a query, ``rows`` rows at a time."""
        with self.refused(), closing(self._reading()) as cursor:
            cursor.execute(query)
            while found := cursor.fetchmany(rows):
                yield frame(found)

    def create(self, table: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """Make a table and fill it, all or nothing."""
        with self.refused(), closing(self.connection.cursor()) as cursor:
            cursor.execute("BEGIN")
            try:
                cursor.execute(sql.create(table, columns))
                cursor.executemany(sql.insert(table, columns, self.placeholder), list(rows))
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Turns the driver's errors into ``QueryFailed``."""
        try:
            yield
        except self.error as error:
            raise QueryFailed(first_line(error)) from error


def first_line(error: Exception) -> str:
    """What the database says, without its hints and the position in the query."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def frame(rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows as a table, its columns named by their positions; values of different types become texts."""
    import polars as pl

    return pl.DataFrame([_series(str(k), values) for k, values in enumerate(zip(*rows, strict=True))])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String)
