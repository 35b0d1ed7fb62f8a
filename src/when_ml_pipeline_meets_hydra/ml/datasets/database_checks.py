"""Checks of a database table before anything runs, with as few queries as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import ConnectionFailed, QueryFailed, Session, open_session
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.database_rows import InvalidValue, bad_value, null_target, typed_batches
from when_ml_pipeline_meets_hydra.ml.datasets.interface import no_column
from when_ml_pipeline_meets_hydra.ml.datasets.values import convertible


def problems(dataset: TableQuery) -> list[Problem]:
    """Return all problems: a refused connection, absent columns, wrong types, nulls in the target.

    A server that does not respond is no problem yet: the step that reads from it fails, other steps run meanwhile.
    """
    try:
        with open_session(dataset.connection) as session:
            return list(_column_problems(dataset, session))
    except ConnectionFailed as error:
        return list(error.problems) if error.is_permanent else []
    except QueryFailed as error:
        key, value = ("table", dataset.table) if dataset.query is None else ("query", None)
        return [Problem(key=key, value=value, message=f"the database cannot read it: {error}")]


def _column_problems(dataset: TableQuery, session: Session) -> Iterator[Problem]:
    types = session.types(sql.without_rows(dataset.relation))
    order = list(enumerate(dataset.order_by or ()))
    unordered = [no_column(f"order_by[{k}]", name, types) for k, name in order if name not in types]
    yield from unordered
    typed = []
    for key, column in dataset.schema.with_keys():
        if column.name not in types:
            yield no_column(f"{key}.name", column.name, types)
        elif not _fits(types[column.name], column):
            yield _wrong_type(f"{key}.dtype", column, types[column.name])
        else:
            typed.append((key, column))
    if unordered or (dataset.order_by is None and len(typed) < len(dataset.schema.columns)):
        dataset = replace(dataset, order_by=())
    yield from _nulls(dataset, session, typed)
    yield from _values(dataset, session, [c for _, c in typed if types[c.name] is DType.STRING is not c.dtype])


def _fits(actual: DType | str, column: Column) -> bool:
    return isinstance(actual, DType) and convertible(actual, column.dtype, column.format)


def _nulls(dataset: TableQuery, session: Session, columns: Sequence[tuple[str, Column]]) -> Iterator[Problem]:
    names = [c.name for _, c in columns]
    if not names:
        return
    rows, *counts = session.row(
        sql.counts(names, sql.select(names, dataset.relation) if dataset.limit is None else dataset.select(names))
    )
    if not rows:
        yield Problem(key="table" if dataset.query is None else "query", message="there is no row")
        return
    for (key, column), count in zip(columns, counts, strict=True):
        if column == dataset.schema.target and count < rows:
            yield null_target(dataset, rows - count)
        elif not count:
            message = f"the column '{column.name}' has no value at all"
            yield Problem(key=key, message=message, remedy="Leave it out of the schema")


def _values(dataset: TableQuery, session: Session, untyped: Sequence[Column]) -> Iterator[Problem]:
    """Invalid values of columns that the database has as text; reads only these columns."""
    if not untyped:
        return
    places = {c: k for k, c in enumerate(dataset.schema.columns)}
    first: dict[int, InvalidValue] = {}
    for _, invalid in typed_batches(dataset, session, untyped):
        first = {**{v.column: v for v in invalid}, **first}
    for k, value in sorted(first.items()):
        yield bad_value(dataset, replace(value, column=places[untyped[k]]))


def _wrong_type(key: str, column: Column, actual: DType | str) -> Problem:
    if isinstance(actual, DType):
        message, remedy = f"the column '{column.name}' holds values of type {actual.value}", f"Write dtype: {actual}"
    else:
        message = f"the column '{column.name}' has the type {actual}, which is none of {', '.join(DType)}"
        remedy = "Cast it in dataset.query, or leave it out"
    return Problem(key=key, value=column.dtype.value, message=message, remedy=remedy)
