"""SQL for all databases. Names from a config are quoted, so that they are never executed as SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType

TYPES: Mapping[DType, str] = {
    DType.FLOAT: "DOUBLE PRECISION",
    DType.INT: "BIGINT",
    DType.STRING: "VARCHAR",
    DType.BOOL: "BOOLEAN",
    DType.DATE: "DATE",
    DType.DATETIME: "TIMESTAMP",
}


def quoted(name: str) -> str:
    """Return a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def table(name: str) -> str:
    """Return the quoted table ``name``, or ``schema.name``."""
    return ".".join(map(quoted, name.split(".")))


def subquery(query: str) -> str:
    """Return a query as a table for FROM."""
    # The query's last line may be a comment.
    return f"({query.strip().rstrip(';')}\n) AS {quoted('rows')}"


def select(names: Iterable[str], relation: str, *, order_by: Sequence[str] = (), limit: int | None = None) -> str:
    """Return the query for the columns ``names`` of a table or a subquery."""
    text = f"SELECT {', '.join(map(quoted, names))} FROM {relation}"
    text += f" ORDER BY {', '.join(map(quoted, order_by))}" if order_by else ""
    return text if limit is None else f"{text} LIMIT {limit}"


def without_rows(relation: str) -> str:
    """Return the query for all columns and no row."""
    return f"SELECT * FROM {relation} WHERE 1 = 0"


def counts(names: Iterable[str], query: str) -> str:
    """Return the query for the number of rows, then of each column's values that are not null."""
    return f"SELECT {', '.join(['count(*)', *(f'count({quoted(n)})' for n in names)])} FROM {subquery(query)}"


def create(name: str, columns: Iterable[Column]) -> str:
    """Return the statement that creates a table; ``name`` is quoted already."""
    return f"CREATE TABLE {name} ({', '.join(f'{quoted(c.name)} {TYPES[c.dtype]}' for c in columns)})"


def insert(name: str, columns: Sequence[Column], placeholder: str) -> str:
    """Return the statement that inserts one row; ``name`` is quoted already."""
    return f"INSERT INTO {name} VALUES ({', '.join([placeholder] * len(columns))})"
