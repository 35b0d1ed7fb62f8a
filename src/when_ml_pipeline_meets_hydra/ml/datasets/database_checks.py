"""Checks of a database table before anything runs, with as few queries as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import (
    ConnectionFailed,
    QueryFailed,
    Session,
    Types,
    open_session,
)
from when_ml_pipeline_meets_hydra.ml.datasets import computed
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import WEIGHT, TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.database_rows import InvalidValue, bad_value, null_target, typed_batches
from when_ml_pipeline_meets_hydra.ml.datasets.interface import no_column
from when_ml_pipeline_meets_hydra.ml.datasets.values import convertible
from when_ml_pipeline_meets_hydra.ml.datasets.weights import LIMITS, bad_weight


def problems(dataset: TableQuery, *, to_predict: bool = False) -> list[Problem]:
    """Return all problems: a refused connection, absent columns, wrong types, nulls in the target.

    ``to_predict``: the target may be missing, as a value or as a column, and other columns may have no value.

    A server that does not respond is no problem yet: the step that reads from it fails, other steps run meanwhile.
    """
    try:
        with open_session(dataset.connection) as session:
            return list(_column_problems(dataset, session, to_predict=to_predict))
    except ConnectionFailed as error:
        return list(error.problems) if error.is_permanent else []
    except QueryFailed as error:
        key, value = ("table", dataset.table) if dataset.query is None else ("query", None)
        return [Problem(key=key, value=value, message=f"the database cannot read it: {error}")]


def _column_problems(dataset: TableQuery, session: Session, *, to_predict: bool) -> Iterator[Problem]:
    dtypes = {c.name: c.dtype for c in dataset.schema.features}
    yield from computed.problems(dataset.features, dtypes, dataset.schema.target.name, dataset.weight)
    types, refused = _types(dataset, session)
    order = list(enumerate(dataset.order_by or ()))
    unordered = [no_column(f"order_by[{k}]", name, types) for k, name in order if name not in types]
    yield from unordered
    typed = []
    for key, column in dataset.with_keys():
        if to_predict and column == dataset.schema.target and column.name not in types:
            continue
        if column.name in refused:
            message = f"the database cannot read it: {refused[column.name]}"
            yield Problem(key=_named(key), value=column.name, message=message)
        elif column.name not in types:
            yield no_column(_named(key), column.name, types)
        elif not _fits(types[column.name], column):
            yield _wrong_type(key if key == WEIGHT else f"{key}.dtype", column, types[column.name])
        else:
            typed.append((key, column))
    if unordered or (dataset.order_by is None and len(typed) < len(dataset.columns)):
        dataset = replace(dataset, order_by=())
    yield from _counted_problems(dataset, session, typed, types, to_predict=to_predict)
    untyped = [c for _, c in typed if _is_known_by_value(types[c.name], c)]
    yield from _values(dataset, session, untyped, weight=None if to_predict else dataset.weight)


def _types(dataset: TableQuery, session: Session) -> tuple[Types, dict[str, str]]:
    """The columns with their types and, where the user may read only some of them, why the others are refused."""
    try:
        return session.types(sql.without_rows(dataset.relation)), {}
    except QueryFailed:
        types: dict[str, DType | str] = {}
        refused = {}
        for name in dict.fromkeys((*(c.name for c in dataset.columns), *(dataset.order_by or ()))):
            try:
                types |= session.types(sql.without_rows(dataset.relation, [name]))
            except QueryFailed as error:
                refused[name] = str(error)
        if not types:
            raise
        return types, refused


def _named(key: str) -> str:
    """The config key of a column's name."""
    return key if key == WEIGHT else f"{key}.name"


def _is_known_by_value(actual: DType | str, column: Column) -> bool:
    """Whether only reading all values says if they have the column's type."""
    is_date_in_a_number = actual is DType.INT and column.dtype.is_time
    return is_date_in_a_number or actual is DType.STRING is not column.dtype


def _fits(actual: DType | str, column: Column) -> bool:
    return isinstance(actual, DType) and convertible(actual, column.dtype, column.format)


def _counted_problems(
    dataset: TableQuery, session: Session, columns: Sequence[tuple[str, Column]], types: Types, *, to_predict: bool
) -> Iterator[Problem]:
    """Missing values, and those that cannot be read as the column's type, counted by the database in one query."""
    names = [c.name for _, c in columns]
    if not names:
        return
    query = sql.select(names, dataset.relation) if dataset.limit is None else dataset.select(names)
    conditions = {c: sql.unreadable(c, actual) for _, c in columns if isinstance(actual := types[c.name], DType)}
    known = {c: condition for c, condition in conditions.items() if condition}
    rows, *counts = session.row(sql.counts(names, query, known.values()))
    if not rows:
        yield Problem(key="table" if dataset.query is None else "query", message="there is no row")
        return
    for (key, column), count in () if to_predict else zip(columns, counts, strict=False):
        if column == dataset.schema.target and count < rows:
            yield null_target(dataset, rows - count)
        elif not count:
            message = f"the column '{column.name}' has no value at all"
            yield Problem(key=key, message=message, remedy="Leave it out of the schema")
    places = {c: k for k, c in enumerate(dataset.columns)}
    for (column, condition), count in zip(known.items(), counts[len(names) :], strict=True):
        if count:
            value = str(session.row(sql.first(column.name, query, condition))[0])
            yield bad_value(dataset, InvalidValue(column=places[column], value=value))
    if not to_predict and dataset.weight in names and types[dataset.weight] in (DType.INT, DType.FLOAT):
        yield from _wrong_weights(dataset.weight, query, session)


def _wrong_weights(name: str, query: str, session: Session) -> Iterator[Problem]:
    condition = sql.outside(name, *LIMITS)
    _, count = session.row(sql.counts((), query, [condition]))
    if count:
        yield bad_weight(name, session.row(sql.first(name, query, condition))[0], count)


def _values(dataset: TableQuery, session: Session, untyped: Sequence[Column], weight: str | None) -> Iterator[Problem]:
    """Invalid values, and weights, of columns whose types only values tell; reads only these columns."""
    if not untyped:
        return
    places = {c: k for k, c in enumerate(dataset.columns)}
    first: dict[int, InvalidValue] = {}
    weights: list[float | None] = []
    for batch, invalid in typed_batches(dataset, session, untyped):
        first = {**{v.column: v for v in invalid}, **first}
        if weight in batch.columns and batch.schema[weight].is_numeric():
            weights += batch[weight].filter(~batch[weight].is_between(*LIMITS).fill_null(False)).to_list()
    for k, value in sorted(first.items()):
        yield bad_value(dataset, replace(value, column=places[untyped[k]]))
    if weight and weights and not first:
        yield bad_weight(weight, weights[0], len(weights))


def _wrong_type(key: str, column: Column, actual: DType | str) -> Problem:
    if isinstance(actual, DType):
        message, remedy = f"the column '{column.name}' holds values of type {actual.value}", f"Write dtype: {actual}"
    else:
        message = f"the column '{column.name}' has the type {actual}, which is none of {', '.join(DType)}"
        remedy = "Cast it in dataset.query, or leave it out"
    return Problem(key=key, value=column.dtype.value, message=message, remedy=remedy)
