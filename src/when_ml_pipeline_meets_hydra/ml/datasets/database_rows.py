"""Rows of a database table, read once, in batches, into files of typed columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import polars as pl

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Reading
from when_ml_pipeline_meets_hydra.ml.connections import sql
from when_ml_pipeline_meets_hydra.ml.connections.interface import QueryFailed, Session, open_session
from when_ml_pipeline_meets_hydra.ml.connections.sql import quoted
from when_ml_pipeline_meets_hydra.ml.datasets import checks, time_remarks
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import WEIGHT, TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.values import POLARS, convert, expected, null_if_missing

READING = Reading()


@dataclass(frozen=True, kw_only=True)
class InvalidValue:
    """A value that is not of its column's type."""

    column: int
    value: str


def read(dataset: TableQuery, folder: Path, *, to_predict: bool = False) -> RawRows:
    """Read all rows into Parquet files in ``folder``, one for each batch, so that memory is bounded.

    ``to_predict``: the target may be missing, as a value or as a column.

    Raises:
        BadInput: values are missing or of another type than in the schema, or no model can be trained on them.
        StepFailed: the database is not reachable, or refuses the query.
    """
    schema = dataset.schema
    with open_session(dataset.connection) as session:
        columns = known_columns(dataset, session) if to_predict else dataset.columns
        frame, problems, zones = _write(dataset, columns, session, folder, with_target=not to_predict)
    rows = RawRows(
        frame=frame,
        target=schema.target.name,
        columns=columns,
        task=schema.task,
        features=dataset.features,
        zones=zones,
        weight=dataset.weight,
    )
    problems += [] if problems or to_predict else [_with_schema_key(dataset, p) for p in checks.problems_of(rows)]
    if problems:
        raise BadInput(*problems)
    return rows


def known_columns(dataset: TableQuery, session: Session) -> tuple[Column, ...]:
    """Return the columns to read, without a target that the table does not have."""
    target = dataset.schema.target
    try:
        has_target = target.name in session.types(sql.without_rows(dataset.relation))
    except QueryFailed:  # the user may read only some of the columns
        try:
            has_target = bool(session.types(sql.without_rows(dataset.relation, [target.name])))
        except QueryFailed:
            has_target = False
    return dataset.columns if has_target else dataset.columns[:-1]


def _write(
    dataset: TableQuery, columns: Sequence[Column], session: Session, folder: Path, *, with_target: bool
) -> tuple[pl.LazyFrame, list[Problem], dict[str, str]]:
    """Write the typed rows; return them lazily, their problems, and how times with a time zone are read."""
    first: dict[int, InvalidValue] = {}
    missing = 0
    files: list[Path] = []
    # The first file has no rows, so that the types are known even without any batch.
    zones: dict[str, str] = {}
    names = [c.name for c in columns]
    raw_batches = session.batches(dataset.select(names, names), dataset.batch)
    for raw in chain([pl.DataFrame(schema={c.name: POLARS[c.dtype] for c in columns})], raw_batches):
        batch, invalid = _typed(raw, columns)
        if len(files) == 1:
            zones = time_remarks.zones(raw.lazy(), zip(count(), columns, raw.dtypes), READING)
        first = {**{v.column: v for v in invalid}, **first}
        missing += batch.to_series(-1).null_count() if with_target else 0
        files.append(folder / f"{len(files)}.parquet")
        batch.write_parquet(files[-1], compression="zstd", compression_level=1)
    problems = [bad_value(dataset, v) for _, v in sorted(first.items())]
    if missing and len(columns) - 1 not in first:
        problems.append(null_target(dataset, missing))
    return pl.scan_parquet(files, glob=False), problems, zones


def typed_batches(
    dataset: TableQuery, session: Session, columns: Sequence[Column]
) -> Iterator[tuple[pl.DataFrame, list[InvalidValue]]]:
    """Yield batches of rows with typed columns, and an invalid value of each column that has one."""
    for raw in session.batches(dataset.select(c.name for c in columns), dataset.batch):
        yield _typed(raw, columns)


def _typed(raw: pl.DataFrame, columns: Sequence[Column]) -> tuple[pl.DataFrame, list[InvalidValue]]:
    given = [null_if_missing(pl.nth(k), physical, READING) for k, physical in enumerate(raw.dtypes)]
    values = [convert(g, p, c.dtype, READING, c.format) for g, p, c in zip(given, raw.dtypes, columns, strict=True)]
    typed = raw.select(v.alias(c.name) for v, c in zip(values, columns, strict=True))
    lost = raw.select(
        _is_invalid(g, v, c.dtype).arg_true().first().alias(str(k))
        for k, (g, v, c) in enumerate(zip(given, values, columns, strict=True))
    )
    invalid = [(k, row) for k, row in enumerate(lost.row(0)) if row is not None]
    return typed, [InvalidValue(column=k, value=str(raw[row, k])) for k, row in invalid]


def _is_invalid(given: pl.Expr, value: pl.Expr, dtype: DType) -> pl.Expr:
    lost = given.is_not_null() & value.is_null()
    return lost | value.is_infinite() if dtype is DType.FLOAT else lost


def bad_value(dataset: TableQuery, invalid: InvalidValue) -> Problem:
    """Return the problem of a value that is not of the type in the schema."""
    key, column = list(dataset.with_keys())[invalid.column]
    value = invalid.value if len(invalid.value) <= 40 else f"{invalid.value[:40]}…"
    wanted = "a finite number" if column.dtype is DType.FLOAT else expected(column.dtype, column.format)
    fact = "format" if column.format else "dtype"
    return Problem(
        key=key if key == WEIGHT else f"{key}.{fact}",
        value=column.format or column.dtype.value,
        message=f"the column '{column.name}' has the value '{value}', which is not {wanted}",
        remedy=f"Correct the value, leave such rows out by dataset.query, change the {fact}, or leave the column out",
    )


def null_target(dataset: TableQuery, count: int) -> Problem:
    """Return the problem of ``count`` rows without a target."""
    name = dataset.schema.target.name
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    return Problem(
        key="schema.target",
        value=name,
        message=f"{rows} no value of the column to predict",
        remedy=f"Leave them out by a query: dataset.query='SELECT * FROM … WHERE {quoted(name)} IS NOT NULL'",
    )


def _with_schema_key(dataset: TableQuery, problem: Problem) -> Problem:
    """A problem of ``target`` or ``columns[k]`` of the rows, under the key of the schema."""
    places = {f"columns[{k}]": key for k, (key, _) in enumerate(dataset.with_keys())}
    places |= {"target": "schema.target", "task": "schema.task", WEIGHT: f"dataset.{WEIGHT}"}
    first, dot, rest = problem.key.partition(".")
    return Problem(key=places.get(first, first) + dot + rest, value=problem.value, message=problem.message)
