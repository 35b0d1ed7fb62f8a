"""Conversion of raw rows into a table of typed columns, under reserved names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Reading, Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import AS_IT_IS, RawRows, TaskChoice, no_column
from when_ml_pipeline_meets_hydra.ml.datasets.values import convert, dtype_of, null_if_missing, truth_word

ROW, TARGET = "row", "target"
MOST_WHOLE_NUMBER_CLASSES = 10
LEAVE_OUT = "Leave it out: list those to use in dataset.columns"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Typed columns of a data set.

    ``frame`` has the number of the raw row as ``row``, the k-th of ``columns`` as ``c<k>`` (so that a name such as
    ``*`` or ``^a$`` is never taken for a pattern) and, of the type of ``target``, the target as ``target``. Missing
    values are null; rows without a target are still there.
    """

    frame: pl.LazyFrame
    columns: tuple[Column, ...]
    target: Column
    task: Task
    reading: Reading = AS_IT_IS


@dataclass(frozen=True, kw_only=True)
class Located:
    """A column, and its ``position`` in the raw rows; ``listed`` is its index in ``dataset.columns``."""

    column: Column
    position: int
    physical: pl.DataType
    listed: int | None = None


def column(index: int) -> str:
    """The name of the ``index``-th column in a table's frame."""
    return f"c{index}"


def table(rows: RawRows) -> Table:
    """Find the columns, their types and the task. Raises ``BadInput`` if a column does not exist."""
    located, problems = locate(rows)
    if problems:
        raise BadInput(*problems)
    *columns, target = with_types(located, count_types(rows, located))
    values = {column(k): typed(rows, where) for k, where in enumerate(columns)} | {TARGET: typed(rows, target)}
    frame = rows.frame.select(**values).with_row_index(ROW)
    return Table(
        frame=frame,
        columns=tuple(where.column for where in columns),
        target=target.column,
        task=find_task(rows.task, target.column.dtype, frame),
        reading=rows.reading,
    )


def typed(rows: RawRows, where: Located) -> pl.Expr:
    """The values of a column in the raw rows, converted to its type."""
    return convert(nonmissing(rows, where), where.physical, where.column.dtype, rows.reading, where.column.format)


def nonmissing(rows: RawRows, where: Located) -> pl.Expr:
    """The values of a column in the raw rows, null where they are missing."""
    return null_if_missing(pl.nth(where.position), where.physical, rows.reading)


def locate(rows: RawRows) -> tuple[list[Located], list[Problem]]:
    """Find the columns, the target last, and the problems of absent ones. Types that are not listed are the file's."""
    schema = list(rows.frame.collect_schema().items())
    places = {name: place for place, (name, _) in enumerate(schema)}
    problems = list(_absent(rows, places))
    listed = {c.name: k for k, c in enumerate(rows.columns)}
    features = [name for name in (listed or places) if name != rows.target and name in places]
    located = []
    for name in [*features, *([rows.target] if rows.target in places else [])]:
        physical = schema[places[name]][1]
        own = rows.columns[listed[name]] if name in listed else None
        dtype = dtype_of(physical)
        if dtype is None:
            problems.append(_unusable(name, physical))
            continue
        column = own or Column(name=name, dtype=dtype)
        located.append(Located(column=column, position=places[name], physical=physical, listed=listed.get(name)))
    if not features:
        problems.append(Problem(key="columns", message="there is no column besides the target to predict from"))
    return located, problems


def _absent(rows: RawRows, places: Mapping[str, int]) -> Iterable[Problem]:
    if rows.target not in places:
        yield no_column("target", rows.target, places)
    names = [c.name for c in rows.columns]
    for k, name in enumerate(names):
        if name in names[:k]:
            yield Problem(key=f"columns[{k}].name", value=name, message="this column is listed twice")
        elif name not in places:
            yield no_column(f"columns[{k}].name", name, places)


def _unusable(name: str, physical: pl.DataType) -> Problem:
    return Problem(
        key="path",
        message=f"the column '{name}' holds values of type {physical}, which is none of {', '.join(DType)}",
        remedy=LEAVE_OUT,
    )


Counts = Mapping[int, Mapping[DType, int]]
_FIRST_ROWS = 10_000
_ORDER = (DType.DATE, DType.DATETIME, DType.INT, DType.FLOAT, DType.BOOL, DType.STRING)


def count_types(rows: RawRows, columns: Iterable[Located]) -> Counts:
    """Count, by position, the values that can be read as each type, in one streaming pass.

    Only columns with unknown types are counted: texts that are not listed. Parsing is slow, so types that the first
    rows rule out are not counted any further; they count as 0.
    """
    untyped = [where for where in columns if rows.texts and where.listed is None]
    first = _counted(rows, rows.frame.head(_FIRST_ROWS), [(w, d) for w in untyped for d in _ORDER])
    candidates = [(w, d) for w in untyped for d in _ORDER if d in _possible(first[w.position])]
    counted = _counted(rows, rows.frame, candidates)
    return {position: {d: counts.get(d, 0) for d in _ORDER} for position, counts in counted.items()}


def _possible(first: Mapping[DType, int]) -> set[DType]:
    """The types of all of the first values; numbers and dates also if some of these values are mistakes."""
    total = first[DType.STRING]
    return {d for d in _ORDER if first[d] == total or (first[d] and d in (DType.FLOAT, DType.DATE, DType.DATETIME))}


def _counted(
    rows: RawRows, frame: pl.LazyFrame, candidates: Sequence[tuple[Located, DType]]
) -> dict[int, dict[DType, int]]:
    if not candidates:
        return {}
    counts = frame.select(
        _candidate(rows, where, dtype).count().alias(str(k)) for k, (where, dtype) in enumerate(candidates)
    ).collect(engine="streaming")
    result: dict[int, dict[DType, int]] = {}
    for (where, dtype), count in zip(candidates, counts.row(0), strict=True):
        result.setdefault(where.position, {})[dtype] = count
    return result


def _candidate(rows: RawRows, where: Located, dtype: DType) -> pl.Expr:
    """The values as ``dtype``; of truth values only words, since 0 and 1 are numbers unless the config says more."""
    value = nonmissing(rows, where)
    return truth_word(value) if dtype is DType.BOOL else convert(value, where.physical, dtype, rows.reading)


def with_types(columns: Iterable[Located], counts: Counts) -> list[Located]:
    """Return the columns; a counted one gets the narrowest type of all its values."""
    return [
        replace(where, column=Column(name=where.column.name, dtype=narrowest(counts[where.position])))
        if where.position in counts
        else where
        for where in columns
    ]


def narrowest(counts: Mapping[DType, int]) -> DType:
    """Return the first type that all values have; STRING for a column without values."""
    total = counts[DType.STRING]
    return next(d for d in _ORDER if counts[d] == total) if total else DType.STRING


def find_task(choice: TaskChoice, dtype: DType, frame: pl.LazyFrame) -> Task:
    """Return the task; by default texts, booleans and at most ten different integers are classes."""
    if choice is not TaskChoice.AUTO:
        return Task(choice.value)
    if dtype is not DType.INT:
        return Task.CLASSIFICATION if dtype in (DType.STRING, DType.BOOL) else Task.REGRESSION
    few = distinct_values(frame, MOST_WHOLE_NUMBER_CLASSES) <= MOST_WHOLE_NUMBER_CLASSES
    return Task.CLASSIFICATION if few else Task.REGRESSION


def distinct_values(frame: pl.LazyFrame, exact_up_to: int) -> int:
    """Count the different values of the target; far beyond ``exact_up_to`` an estimate, which needs little memory."""
    known = frame.select(pl.col(TARGET).drop_nulls())
    estimate: int = known.select(pl.col(TARGET).approx_n_unique()).collect(engine="streaming").item()
    if estimate > 2 * exact_up_to:
        return estimate
    exact: int = known.select(pl.col(TARGET).n_unique()).collect(engine="streaming").item()
    return exact
