"""The rows of a table in a database, read once, in batches, into files of typed columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import polars as pl

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.connections.interface import Session, opened
from when_ml_pipeline_meets_hydra.ml.datasets import checks
from when_ml_pipeline_meets_hydra.ml.datasets.database_query import TableQuery
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.values import POLARS, convert, convertible, dtype_of, present

ONE = {
    DType.FLOAT: "a number",
    DType.INT: "a whole number",
    DType.STRING: "a text",
    DType.BOOL: "true or false",
    DType.DATE: "a date like 2026-01-31",
}


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A value of a column that is not of its type."""

    column: int
    value: str

    def of(self, column: int) -> Wrong:
        """The same in another list of columns."""
        return replace(self, column=column)


def read(dataset: TableQuery, folder: Path) -> RawRows:
    """Read all rows into Parquet files in ``folder``, one for each batch, so that memory is bounded.

    Raises:
        BadInput: values are missing or not what the schema says, or nothing can be learnt from them.
        StepFailed: the database cannot be reached, or refuses the query.
    """
    with opened(dataset.connection) as session:
        frame, problems = _write(dataset, session, folder)
    schema = dataset.schema
    rows = RawRows(frame=frame, target=schema.target.name, columns=schema.columns, task=schema.task)
    problems += [] if problems else [_as_in_the_schema(dataset, p) for p in checks.problems_of(rows)]
    if problems:
        raise BadInput(*problems)
    return rows


def _write(dataset: TableQuery, session: Session, folder: Path) -> tuple[pl.LazyFrame, list[Problem]]:
    """Write the typed rows; gives them lazily, and what is wrong with them."""
    columns = dataset.schema.columns
    nothing = pl.DataFrame(schema={c.name: POLARS[c.dtype] for c in columns})
    wrong: dict[int, Wrong] = {}
    missing = 0
    files: list[Path] = []
    # The first file has no rows: it has the types, also where there is no batch.
    for batch, found in chain([(nothing, [])], typed_batches(dataset, session, columns)):
        wrong = {**{w.column: w for w in found}, **wrong}
        missing += batch.to_series(-1).null_count()
        files.append(folder / f"{len(files)}.parquet")
        batch.write_parquet(files[-1], compression="zstd", compression_level=1)
    problems = [bad_value(dataset, w) for _, w in sorted(wrong.items())]
    if missing and len(columns) - 1 not in wrong:
        problems.append(null_target(dataset, missing))
    return pl.scan_parquet(files, glob=False), problems


def typed_batches(
    dataset: TableQuery, session: Session, columns: Sequence[Column]
) -> Iterator[tuple[pl.DataFrame, list[Wrong]]]:
    """The rows in batches, each column of its type, with a wrong value of each column that has one."""
    for raw in session.batches(dataset.select(c.name for c in columns), dataset.batch):
        yield _typed(raw, columns)


def _typed(raw: pl.DataFrame, columns: Sequence[Column]) -> tuple[pl.DataFrame, list[Wrong]]:
    given = [present(pl.nth(k), physical, ("",), strip=False) for k, physical in enumerate(raw.dtypes)]
    values = [_convert(g, p, c.dtype) for g, p, c in zip(given, raw.dtypes, columns, strict=True)]
    typed = raw.select(v.alias(c.name) for v, c in zip(values, columns, strict=True))
    lost = raw.select(
        (g.is_not_null() & v.is_null()).arg_true().first().alias(str(k))
        for k, (g, v) in enumerate(zip(given, values, strict=True))
    )
    found = [(k, row) for k, row in enumerate(lost.row(0)) if row is not None]
    return typed, [Wrong(column=k, value=str(raw[row, k])) for k, row in found]


def _convert(given: pl.Expr, physical: pl.DataType, wanted: DType) -> pl.Expr:
    found = dtype_of(physical)
    if found is DType.INT and wanted is DType.BOOL:  # databases without truth values write 0 and 1
        return pl.when(given.is_in([0, 1])).then(given).otherwise(None).cast(pl.Boolean)
    if found is None or not convertible(found, wanted):
        return pl.lit(None, dtype=POLARS[wanted])
    return convert(given, physical, wanted)


def bad_value(dataset: TableQuery, wrong: Wrong) -> Problem:
    """A value that is not of the type that the schema says."""
    key, column = list(dataset.schema.places())[wrong.column]
    value = wrong.value if len(wrong.value) <= 40 else f"{wrong.value[:40]}…"
    return Problem(
        key=f"{key}.dtype",
        value=column.dtype.value,
        message=f"the column '{column.name}' has the value '{value}', which is not {ONE[column.dtype]}",
        remedy="Correct the value, or change the dtype, or leave the column out",
    )


def null_target(dataset: TableQuery, count: int) -> Problem:
    """Rows without a value of the target."""
    name = dataset.schema.target.name
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    condition = sql_condition(name)
    return Problem(
        key="schema.target",
        value=name,
        message=f"{rows} no value of the column to predict",
        remedy=f"Leave them out by a query: dataset.query='SELECT * FROM … WHERE {condition}'",
    )


def sql_condition(name: str) -> str:
    """The rows that have a value of a column."""
    from when_ml_pipeline_meets_hydra.ml.connections.sql import quoted

    return f"{quoted(name)} IS NOT NULL"


def _as_in_the_schema(dataset: TableQuery, problem: Problem) -> Problem:
    """A problem of the rows, which know of ``target`` and ``columns[k]``, under the keys of the schema."""
    places = {f"columns[{k}]": key for k, (key, _) in enumerate(dataset.schema.places())}
    places |= {"target": "schema.target", "task": "schema.task"}
    first, dot, rest = problem.key.partition(".")
    return Problem(key=places.get(first, first) + dot + rest, value=problem.value, message=problem.message)
