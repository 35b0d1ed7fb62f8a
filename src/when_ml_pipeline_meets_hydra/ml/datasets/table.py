"""Conversion of raw rows into a table of typed columns, under reserved names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import polars as pl

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, ListedColumn, Reading, Task
from when_ml_pipeline_meets_hydra.ml.datasets import computed
from when_ml_pipeline_meets_hydra.ml.datasets.guesses import Guess, guess
from when_ml_pipeline_meets_hydra.ml.datasets.interface import AS_IT_IS, RawRows, TaskChoice, no_column
from when_ml_pipeline_meets_hydra.ml.datasets.remarks import Remarks, remarks_of
from when_ml_pipeline_meets_hydra.ml.datasets.values import convert, dtype_of, null_if_missing
from when_ml_pipeline_meets_hydra.ml.dates import has_time

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.expressions.tree import Derived

ROW, TARGET, WEIGHT = "row", "target", "weight"
MOST_WHOLE_NUMBER_CLASSES = 10
LEAVE_OUT = "Leave it out: name it in dataset.exclude"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Typed columns of a data set.

    ``frame`` has the number of the raw row as ``row``, the k-th of ``columns`` as ``c<k>`` (so that a name such as
    ``*`` or ``^a$`` is never taken for a pattern), then those of ``derived``, which are computed from them, and, of the
    type of ``target``, the target as ``target``. Missing values are null; rows without a target are still there.
    ``further`` maps columns by which rows are split, also those that are no features, to their names in ``frame``.
    ``sources`` are the columns that are read for the derived ones alone, by index. The values of the column ``weight``,
    if there is one, are Float64, and named ``weight`` in ``frame``.
    """

    frame: pl.LazyFrame
    columns: tuple[Column, ...]
    target: Column
    task: Task
    reading: Reading = AS_IT_IS
    remarks: Remarks = field(default_factory=Remarks)
    further: Mapping[str, str] = field(default_factory=dict)
    derived: tuple[Derived, ...] = ()
    sources: frozenset[int] = frozenset()
    weight: str | None = None

    @property
    def described(self) -> tuple[Column, ...]:
        """The columns, and the derived ones."""
        return (*self.columns, *(d.column for d in self.derived))


@dataclass(frozen=True, kw_only=True)
class Located:
    """A column, and its ``position`` in the raw rows; ``listed`` is its index in ``dataset.columns``.

    ``guessed``: its texts are looked at: for its type, if the file has ``texts`` alone, or for the format of its dates,
    or for what they look like; ``source``: a column that is read for computed ones alone.
    """

    column: Column
    position: int
    physical: pl.DataType
    listed: int | None = None
    guessed: bool = False
    texts: bool = False
    source: bool = False


def column(index: int) -> str:
    """The name of the ``index``-th column in a table's frame."""
    return f"c{index}"


def table(rows: RawRows, *, with_empty: bool = True, further: Mapping[str, str] | None = None) -> Table:
    """Find the columns, their types and the task; ``with_empty``: columns without any value are kept.

    ``further`` maps columns that are to be there, features or not, to the config keys that name them.

    Raises ``BadInput`` if a column does not exist.
    """
    located, problems = locate(rows)
    if problems:
        raise BadInput(*problems)
    read = computed.sources(rows.features)
    guesses = guess(rows, guessed(located))
    *columns, target = with_types(located, guesses)
    empty = frozenset() if with_empty else empty_columns(rows, [w for w in columns if w.column.name not in read])
    columns = [where for where in columns if where.position not in empty]
    places = {where.column.name: column(k) for k, where in enumerate(columns)}
    own = {f"x{k}": where for k, where in enumerate(_further(rows, further or {}, places))}
    places |= {where.column.name: name for name, where in own.items()}
    values = {column(k): typed(rows, where) for k, where in enumerate(columns)} | {TARGET: typed(rows, target)}
    values |= {name: typed(rows, where) for name, where in own.items()}
    if weight := locate_weight(rows):
        values[WEIGHT] = typed(rows, weight)
    frame = rows.frame.select(**values).with_row_index(ROW)
    described = tuple(where.column for where in columns)
    derived, made, without = _with_derived(rows.features, frame, described)
    if without and not with_empty:
        kept = {name: text for name, text in rows.features.items() if name not in without}
        derived, made, _ = _with_derived(kept, frame, described)
    left_out = [f"{where.column.name} (empty)" for where in located if where.position in empty]
    left_out += [f"{name} (computed; no value in any row)" for name in without if not with_empty]
    left_out += [f"{name} (the index of a data frame)" for name in _indices(rows)]
    return Table(
        frame=derived,
        columns=described,
        target=target.column,
        task=find_task(rows.task, target.column.dtype, frame),
        reading=rows.reading,
        remarks=remarks_of(rows, [*columns, target], guesses, (*rows.left_out, *left_out)),
        further={name: places[name] for name in further or {}},
        derived=made,
        sources=frozenset(k for k, where in enumerate(columns) if where.source),
        weight=weight.column.name if weight else None,
    )


def _with_derived(
    features: Mapping[str, str], frame: pl.LazyFrame, columns: Sequence[Column]
) -> tuple[pl.LazyFrame, tuple[Derived, ...], list[str]]:
    """Add the columns that are computed from others; return them, and the names of those without any value."""
    if not features:
        return frame, (), []
    from when_ml_pipeline_meets_hydra.ml.expressions.columns import with_columns

    dtypes = {c.name: c.dtype for c in columns}
    made = computed.derived(features, dtypes)
    nodes = {column(k): d.node for k, d in enumerate(made, len(columns))}
    found = with_columns(frame, nodes, {c.name: column(k) for k, c in enumerate(columns)}, dtypes)
    counts = found.select(pl.col(name).count() for name in nodes).collect(engine="streaming").row(0)
    return found, made, [d.column.name for d, count in zip(made, counts, strict=True) if not count]


def _further(rows: RawRows, wanted: Mapping[str, str], known: Collection[str]) -> list[Located]:
    """Return the wanted columns that are not among the ``known`` ones. Raises ``BadInput`` if one does not exist."""
    schema = list(rows.frame.collect_schema().items())
    positions = {name: place for place, (name, _) in enumerate(schema)}
    found, problems = [], []
    for name in wanted.keys() - known:
        if name not in positions:
            problems.append(no_column(wanted[name], name, positions))
            continue
        physical = schema[positions[name]][1]
        if (kind := dtype_of(physical)) is None:
            problems.append(Problem(key=wanted[name], value=name, message=f"its values are of type {physical}"))
        else:
            found.append(_located(rows, ListedColumn(name=name), positions[name], physical, kind, None))
    if problems:
        raise BadInput(*problems)
    return with_types(found, guess(rows, guessed(found)))


def _indices(rows: RawRows) -> list[str]:
    """Return the columns that are the index of a data frame, as pandas writes it; none if columns are listed."""
    names = [] if rows.columns else rows.frame.collect_schema().names()
    return [name for name in names if _PANDAS_INDEX.fullmatch(name) and name not in rows.exclude]


def guessed(columns: Iterable[Located]) -> list[Located]:
    """Return the columns whose types, or formats of dates, are to be found in their texts."""
    return [where for where in columns if where.guessed]


def empty_columns(rows: RawRows, columns: Sequence[Located]) -> frozenset[int]:
    """Return the positions of the columns without any value."""
    empty = frozenset(where.position for where in columns)
    for frame in (rows.frame.head(_FIRST_ROWS), rows.frame):
        left = [where for where in columns if where.position in empty]
        if left:
            counts = [nonmissing(rows, where).count().alias(str(where.position)) for where in left]
            found = frame.select(counts).collect(engine="streaming").row(0, named=True)
            empty = frozenset(int(position) for position, count in found.items() if not count)
    return empty


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
    without = {*rows.exclude, *_indices(rows)}
    names = [name for name in places if name not in without]
    features = [name for name in (listed or names) if name not in (rows.target, rows.weight) and name in places]
    read = computed.sources(rows.features)
    sources = [name for name in read if name in places and name not in (*features, rows.target, rows.weight)]
    problems += computed.untyped_problems(rows.features, places, rows.target, rows.weight)
    located = []
    for name in [*features, *sources, *([rows.target] if rows.target in places else [])]:
        physical = schema[places[name]][1]
        kind = dtype_of(physical)
        if kind is None:
            problems.append(_unusable(name, physical))
            continue
        own = rows.columns[listed[name]] if name in listed else ListedColumn(name=name)
        found = _located(rows, own, places[name], physical, kind, listed.get(name))
        located.append(replace(found, source=name in sources))
    if not features and not rows.features:
        problems.append(Problem(key="columns", message="there is no column besides the target to predict from"))
    return located, problems


def locate_weight(rows: RawRows) -> Located | None:
    """Find the column with the weights, as numbers; None if there is none, or if it is not in the data."""
    places = {name: place for place, name in enumerate(rows.frame.collect_schema())}
    if rows.weight not in places or rows.weight == rows.target:
        return None
    place = places[rows.weight]
    physical = rows.frame.collect_schema().dtypes()[place]
    own = ListedColumn(name=rows.weight, dtype=DType.FLOAT)
    return _located(rows, own, place, physical, dtype_of(physical) or DType.STRING, None)


def _located(
    rows: RawRows, own: ListedColumn, position: int, physical: pl.DataType, kind: DType, listed: int | None
) -> Located:
    is_text = kind is DType.STRING and physical != pl.Null
    as_format = None if own.format is None else DType.DATETIME if has_time(own.format) else DType.DATE
    dtype = own.dtype or as_format
    facts = {fact.name: getattr(own, fact.name) for fact in fields(own)}
    column = Column(**{**facts, "dtype": dtype or kind})
    finds_format = dtype is not None and dtype.is_time and own.format is None
    return Located(
        column=column,
        position=position,
        physical=physical,
        listed=listed,
        texts=rows.texts,
        guessed=is_text and ((dtype is None and (rows.texts or listed is None)) or finds_format),
    )


def _absent(rows: RawRows, places: Mapping[str, int]) -> Iterable[Problem]:
    if rows.target not in places:
        yield no_column("target", rows.target, places)
    if rows.weight is not None and rows.weight == rows.target:
        yield Problem(key="weight", value=rows.weight, message="this is the column to predict")
    elif rows.weight is not None and rows.weight not in places:
        yield no_column("weight", rows.weight, places)
    seen: set[str] = set()
    excluded = set(rows.exclude)
    for k, name in enumerate(rows.exclude):
        if name == rows.target:
            yield Problem(key=f"exclude[{k}]", value=name, message="this is the column to predict")
        elif name not in places:
            yield no_column(f"exclude[{k}]", name, places)
    for k, name in enumerate(c.name for c in rows.columns):
        if name in excluded:
            yield Problem(key=f"columns[{k}].name", value=name, message="this column is in dataset.exclude, too")
        if name in seen:
            yield Problem(key=f"columns[{k}].name", value=name, message="this column is listed twice")
        elif name not in places:
            yield no_column(f"columns[{k}].name", name, places)
        seen.add(name)


def _unusable(name: str, physical: pl.DataType) -> Problem:
    return Problem(
        key="path",
        message=f"the column '{name}' holds values of type {physical}, which is none of {', '.join(DType)}",
        remedy=LEAVE_OUT,
    )


Guesses = Mapping[int, Guess]
_FIRST_ROWS = 10_000
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def with_types(columns: Iterable[Located], guesses: Guesses) -> list[Located]:
    """Return the columns with the types and formats that were guessed; types in Parquet and databases stay."""
    return [_with_type(where, guesses[where.position]) if where.guessed else where for where in columns]


def _with_type(where: Located, found: Guess) -> Located:
    own = where.column
    if own.dtype.is_time:
        return replace(where, column=replace(own, format=found.form))
    dtype = found.dtype if where.texts else own.dtype
    return replace(where, column=replace(own, dtype=dtype, format=found.form if dtype.is_time else None))


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
