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
    """Return the query for the columns ``names`` of a table or a subquery, sorted by expressions."""
    text = f"SELECT {', '.join(map(quoted, names))} FROM {relation}"
    text += f" ORDER BY {', '.join(order_by)}" if order_by else ""
    return text if limit is None else f"{text} LIMIT {limit}"


def digest(names: Iterable[str]) -> str:
    """Return the expression of a digest of a row's columns ``names``; sorted by it, rows are in no order."""
    texts = " || '|' || ".join(f"coalesce(CAST({quoted(name)} AS VARCHAR), '')" for name in names)
    return f"md5({texts})"


def without_rows(relation: str, names: Iterable[str] = ()) -> str:
    """Return the query for the columns ``names`` (none: all) and no row."""
    return f"SELECT {', '.join(map(quoted, names)) or '*'} FROM {relation} WHERE 1 = 0"


def counts(names: Iterable[str], query: str, conditions: Iterable[str] = ()) -> str:
    """Return the query for the number of rows, then of each column's values that are not null.

    After these come the numbers of rows for which each condition holds.
    """
    counted = [f"count({quoted(name)})" for name in names]
    counted += [f"count(CASE WHEN {condition} THEN 1 END)" for condition in conditions]
    return f"SELECT {', '.join(['count(*)', *counted])} FROM {subquery(query)}"


def first(name: str, query: str, condition: str) -> str:
    """Return the query for a value of a column, as text, for which a condition holds."""
    return f"SELECT CAST({quoted(name)} AS VARCHAR) FROM {subquery(query)} WHERE {condition} LIMIT 1"


def unreadable(column: Column, actual: DType) -> str | None:
    """Return the condition for values of type ``actual`` that cannot be read as those of a column; None: all can."""
    name, number = quoted(column.name), f"CAST({quoted(column.name)} AS DOUBLE PRECISION)"
    is_number = f"{number} <> CAST('NaN' AS DOUBLE PRECISION)"
    if actual is DType.FLOAT and column.dtype is DType.FLOAT:
        return f"{number} IN (CAST('inf' AS DOUBLE PRECISION), CAST('-inf' AS DOUBLE PRECISION))"
    if actual is DType.FLOAT and column.dtype is DType.INT:
        return f"{is_number} AND ({number} <> floor({number}) OR abs({number}) >= 9223372036854775808)"
    if actual in (DType.INT, DType.FLOAT) and column.dtype is DType.BOOL:
        return f"{is_number} AND {number} NOT IN (0, 1)"
    if actual.is_time and column.dtype.is_time:
        last = "DATE '9999-12-31'" if actual is DType.DATE else "TIMESTAMP '9999-12-31 23:59:59'"
        return f"{name} < DATE '0001-01-01' OR {name} > {last}"
    return None


def outside(name: str, low: float, high: float) -> str:
    """Return the condition for rows without a number from ``low`` to ``high`` in a column of numbers."""
    number = f"CAST({quoted(name)} AS DOUBLE PRECISION)"
    return f"{quoted(name)} IS NULL OR NOT ({number} BETWEEN {low!r} AND {high!r})"


def create(name: str, columns: Iterable[Column]) -> str:
    """Return the statement that creates a table; ``name`` is quoted already."""
    return f"CREATE TABLE {name} ({', '.join(f'{quoted(c.name)} {TYPES[c.dtype]}' for c in columns)})"


def insert(name: str, columns: Sequence[Column], placeholder: str) -> str:
    """Return the statement that inserts one row; ``name`` is quoted already."""
    return f"INSERT INTO {name} VALUES ({', '.join([placeholder] * len(columns))})"
