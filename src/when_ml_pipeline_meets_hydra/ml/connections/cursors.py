"""A session that uses the cursors of Python's database API (PEP 249)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import QueryFailed, Types

if TYPE_CHECKING:
    import polars as pl


class CursorSession:
    """A ``Session`` for a driver of Python's database API.

    Args:
        connection: an open one.
        error: the base class of the driver's exceptions.
        placeholder: of a value in an SQL statement.
        dtype: maps an item of ``cursor.description`` to a type, or to the database's name of one that has no ``DType``.
        reading: opens the cursor that reads large results; by default the same as for others.
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
        """Return the columns of a query with their types."""
        with self.translate_errors(), closing(self.connection.cursor()) as cursor:
            cursor.execute(query)
            return {str(item[0]): self._dtype(item) for item in cursor.description}

    def row(self, query: str) -> Sequence[Any]:
        """Return the only row of a query."""
        with self.translate_errors(), closing(self.connection.cursor()) as cursor:
            cursor.execute(query)
            return cursor.fetchone()  # type: ignore[no-any-return]

    def batches(self, query: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the result of a query, ``rows`` rows at a time."""
        with self.translate_errors(), closing(self._reading()) as cursor:
            cursor.execute(query)
            while batch := cursor.fetchmany(rows):
                yield frame(batch)

    def create(self, table: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """Create a table and insert the rows, in one transaction."""
        with self.translate_errors(), closing(self.connection.cursor()) as cursor:
            cursor.execute("BEGIN")
            try:
                cursor.execute(sql.create(table, columns))
                cursor.executemany(sql.insert(table, columns, self.placeholder), list(rows))
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise the driver's errors as ``QueryFailed``."""
        try:
            yield
        except self.error as error:
            raise QueryFailed(first_line(error)) from error


def first_line(error: Exception) -> str:
    """Return the database's message without its hints and the position in the query."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def frame(rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return rows as a table, its columns named by their positions; values of different types become texts."""
    import polars as pl

    return pl.DataFrame([_series(str(k), values) for k, values in enumerate(zip(*rows, strict=True))])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    kinds = set(map(type, values))
    if Decimal in kinds:
        values = [_number(v) if isinstance(v, Decimal) else v for v in values]
    elif UUID in kinds:
        values = [str(v) if isinstance(v, UUID) else v for v in values]
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String)


def _number(value: Decimal) -> float | int:
    """Return a decimal number of any length, or NaN, as one that Polars takes."""
    return (
        int(value) if value.is_finite() and value == value.to_integral_value() and abs(value) < 2**63 else float(value)
    )
