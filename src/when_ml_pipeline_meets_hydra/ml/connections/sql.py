"""SQL that all databases here understand. Names from a config are quoted, so that they are never taken for SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType

TYPES: Mapping[DType, str] = {
    DType.FLOAT: "DOUBLE PRECISION",
    DType.INT: "BIGINT",
    DType.STRING: "VARCHAR",
    DType.BOOL: "BOOLEAN",
    DType.DATE: "DATE",
}


def quoted(name: str) -> str:
    """An identifier, exactly as it is written."""
    return '"' + name.replace('"', '""') + '"'


def table(name: str) -> str:
    """The table ``name``, or ``schema.name``."""
    return ".".join(map(quoted, name.split(".")))


def inner(query: str) -> str:
    """A query as a table."""
    # Its last line may be a comment.
    return f"({query.strip().rstrip(';')}\n) AS {quoted('rows')}"


def select(names: Iterable[str], relation: str, *, order_by: Sequence[str] = (), limit: int | None = None) -> str:
    """The columns ``names`` of a table or of an inner query."""
    text = f"SELECT {', '.join(map(quoted, names))} FROM {relation}"
    text += f" ORDER BY {', '.join(map(quoted, order_by))}" if order_by else ""
    return text if limit is None else f"{text} LIMIT {limit}"


def nothing_of(relation: str) -> str:
    """All columns and no row."""
    return f"SELECT * FROM {relation} WHERE 1 = 0"


def counts(names: Iterable[str], query: str) -> str:
    """The number of rows of a query, then for each column that of its values that are not null."""
    return f"SELECT {', '.join(['count(*)', *(f'count({quoted(n)})' for n in names)])} FROM {inner(query)}"


def create(name: str, columns: Iterable[Column]) -> str:
    """A new table; ``name`` is quoted already."""
    return f"CREATE TABLE {name} ({', '.join(f'{quoted(c.name)} {TYPES[c.dtype]}' for c in columns)})"


def insert(name: str, columns: Sequence[Column], placeholder: str) -> str:
    """One row into a table; ``name`` is quoted already."""
    return f"INSERT INTO {name} VALUES ({', '.join([placeholder] * len(columns))})"
