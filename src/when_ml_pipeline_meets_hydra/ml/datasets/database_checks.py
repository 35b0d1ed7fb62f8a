"""What can be wrong with a table in a database, found before anything runs, by asking for no more than is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import QueryFailed, Session, Unreachable, opened
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.database_rows import Wrong, bad_value, null_target, typed_batches
from when_ml_pipeline_meets_hydra.ml.datasets.interface import no_column
from when_ml_pipeline_meets_hydra.ml.datasets.values import convertible


def problems(dataset: TableQuery) -> list[Problem]:
    """All that is wrong: a connection that is refused, absent columns, wrong types, nulls in the target.

    Where nobody answers, nothing can be said yet: the step that reads will say it, and other steps need not wait.
    """
    try:
        with opened(dataset.connection) as session:
            return list(_look(dataset, session))
    except Unreachable as error:
        return list(error.problems) if error.is_refused else []
    except QueryFailed as error:
        key, value = ("table", dataset.table) if dataset.query is None else ("query", None)
        return [Problem(key=key, value=value, message=f"the database cannot read it: {error}")]


def _look(dataset: TableQuery, session: Session) -> Iterator[Problem]:
    types = session.types(sql.nothing_of(dataset.relation))
    order = list(enumerate(dataset.order_by or ()))
    unordered = [no_column(f"order_by[{k}]", name, types) for k, name in order if name not in types]
    yield from unordered
    sure = []
    for key, column in dataset.schema.places():
        if column.name not in types:
            yield no_column(f"{key}.name", column.name, types)
        elif not _fits(types[column.name], column.dtype):
            yield _contradiction(f"{key}.dtype", column, types[column.name])
        else:
            sure.append((key, column))
    if unordered or (dataset.order_by is None and len(sure) < len(dataset.schema.columns)):
        dataset = replace(dataset, order_by=())
    yield from _nulls(dataset, session, sure)
    yield from _values(dataset, session, [c for _, c in sure if types[c.name] is DType.STRING is not c.dtype])


def _fits(found: DType | str, wanted: DType) -> bool:
    if not isinstance(found, DType):
        return False
    return convertible(found, wanted) or (found is DType.INT and wanted is DType.BOOL)


def _nulls(dataset: TableQuery, session: Session, sure: Sequence[tuple[str, Column]]) -> Iterator[Problem]:
    names = [c.name for _, c in sure]
    if not names:
        return
    rows, *known = session.row(
        sql.counts(names, sql.select(names, dataset.relation) if dataset.limit is None else dataset.select(names))
    )
    if not rows:
        yield Problem(key="table" if dataset.query is None else "query", message="there is no row")
        return
    for (key, column), count in zip(sure, known, strict=True):
        if column == dataset.schema.target and count < rows:
            yield null_target(dataset, rows - count)
        elif not count:
            message = f"the column '{column.name}' has no value at all"
            yield Problem(key=key, message=message, remedy="Leave it out of the schema")


def _values(dataset: TableQuery, session: Session, loose: Sequence[Column]) -> Iterator[Problem]:
    """Wrong values of columns whose type says nothing about them; only these columns are read for that."""
    if not loose:
        return
    places = {c: k for k, c in enumerate(dataset.schema.columns)}
    found: dict[int, Wrong] = {}
    for _, wrong in typed_batches(dataset, session, loose):
        found = {**{w.column: w for w in wrong}, **found}
    for k, w in sorted(found.items()):
        yield bad_value(dataset, w.of(places[loose[k]]))


def _contradiction(key: str, column: Column, found: DType | str) -> Problem:
    if isinstance(found, DType):
        message, remedy = f"the column '{column.name}' holds values of type {found.value}", f"Write dtype: {found}"
    else:
        message = f"the column '{column.name}' has the type {found}, which is none of {', '.join(DType)}"
        remedy = "Cast it in dataset.query, or leave it out"
    return Problem(key=key, value=column.dtype.value, message=message, remedy=remedy)
