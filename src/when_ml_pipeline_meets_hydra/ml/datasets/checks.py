"""Checks of a data set before anything runs; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets import computed, number_marks
from when_ml_pipeline_meets_hydra.ml.datasets.column_contracts import typed_limits, violations
from when_ml_pipeline_meets_hydra.ml.datasets.guesses import Guess, guess
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.number_checks import Bounds, beyond_exact, bounds, inexact
from when_ml_pipeline_meets_hydra.ml.datasets.table import (
    ROW,
    Located,
    column,
    guessed,
    locate,
    nonmissing,
    typed,
    with_types,
)
from when_ml_pipeline_meets_hydra.ml.datasets.target_checks import target_problems
from when_ml_pipeline_meets_hydra.ml.datasets.values import convert, convertible, dtype_of, expected
from when_ml_pipeline_meets_hydra.ml.datasets.weights import weight_problems


def problems(dataset: Dataset, of: Callable[[RawRows], Iterable[Problem]] | None = None) -> list[Problem]:
    """Return all problems of the rows of a data set, or those that ``of`` finds, and what keeps them from being read.

    Streams the rows, so that their number does not matter.
    """
    try:
        return list((of or problems_of)(dataset.rows()))
    except BadInput as error:
        return list(error.problems)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        return [Problem(key="path", message=f"the data cannot be read: {reason}")]


def problems_of(rows: RawRows) -> list[Problem]:
    """Return all problems of raw rows."""
    columns, problems = locate(rows)
    features = sum(w.column.name != rows.target and not w.source for w in columns) + len(rows.features)
    found = [*problems, *wrong_image(rows.image, features), *_column_problems(rows, columns)]
    return [*found, *weight_problems(rows)]


def unreadable(rows: RawRows) -> Iterator[Problem]:
    """Yield a problem for each listed column with values that cannot be read as its type."""
    columns, problems = locate(rows)
    yield from problems
    measured = _measure(rows, columns)
    for where in columns:
        advice = number_marks.remedy(rows, columns, where) if measured[where.position]["bad"] else ""
        yield from _value_problems(rows, where, measured[where.position], advice)


def wrong_image(image: Image | None, columns: int) -> Iterator[Problem]:
    """Yield a problem unless the image has one pixel for each feature column."""
    if image and prod(image.shape) != columns:
        message = f"an image of {image} has {prod(image.shape):,} pixels, and the data {columns:,} columns"
        yield Problem(key="image", message=message, remedy="Correct its height, width or channels")


def _column_problems(rows: RawRows, columns: Sequence[Located]) -> Iterator[Problem]:
    guesses = guess(rows, guessed(columns))
    typed_columns, all_columns = [], with_types(columns, guesses)
    for where in all_columns:
        found = guesses.get(where.position)
        if rows.texts and where.listed is None and found and found.likely is not None:
            advice = number_marks.remedy(rows, all_columns, where) if found.likely is DType.FLOAT else ""
            yield _outlier(rows, where, found.likely, found, advice)
        elif not convertible(_physical_kind(where), where.column.dtype, where.column.format):
            yield _wrong_type(where)
        else:
            typed_columns.append(where)
    yield from _type_problems(rows, all_columns)
    measured = _measure(rows, typed_columns)
    clean = [where for where in typed_columns if not measured[where.position]["bad"]]
    for where in typed_columns:
        advice = number_marks.remedy(rows, all_columns, where) if measured[where.position]["bad"] else ""
        yield from _value_problems(rows, where, measured[where.position], advice)
    yield from _contract_problems(rows, clean)
    target = next((where for where in clean if where.column.name == rows.target), None)
    if target is not None:
        is_text = target.guessed and target.column.dtype is DType.STRING
        advice = number_marks.remedy(rows, all_columns, target) if is_text else ""
        yield from target_problems(rows, target, advice, guesses[target.position].looks if is_text else "")


def _type_problems(rows: RawRows, columns: Sequence[Located]) -> Iterator[Problem]:
    """Problems of computed columns with the types of those that they read, unless they have others."""
    names = rows.frame.collect_schema().names()
    if not rows.features or any(computed.untyped_problems(rows.features, names, rows.target, rows.weight)):
        return
    dtypes = {w.column.name: w.column.dtype for w in columns if w.column.name != rows.target}
    yield from computed.type_problems(rows.features, dtypes)


def _physical_kind(where: Located) -> DType:
    return dtype_of(where.physical) or DType.STRING


def _measure(rows: RawRows, columns: Sequence[Located]) -> Mapping[int, Mapping[str, Any]]:
    """By position: the number of values, the first row with a value of another type, the first with an infinite one."""
    values: dict[str, pl.Expr] = {}
    measures: list[pl.Expr] = []
    limits = bounds(rows, columns)
    for where in columns:
        raw, value = f"raw{where.position}", f"value{where.position}"
        values |= {raw: nonmissing(rows, where), value: typed(rows, where)}
        infinite = pl.col(value).is_infinite() if where.column.dtype is DType.FLOAT else pl.lit(False)
        measures += [
            pl.col(raw).count().alias(f"count{where.position}"),
            _first_row(pl.col(raw).is_not_null() & pl.col(value).is_null()).alias(f"bad{where.position}"),
            _first_row(infinite).alias(f"infinite{where.position}"),
            _first_row(_outside(pl.col(value), limits.get(where.position))).alias(f"extreme{where.position}"),
            _first_row(beyond_exact(pl.col(value), where)).alias(f"inexact{where.position}"),
        ]
    if not columns:
        return {}
    measured = rows.frame.select(**values).with_row_index(ROW).select(measures).collect(engine="streaming")
    row = measured.row(0, named=True)
    names = ("count", "bad", "infinite", "extreme", "inexact")
    return {
        where.position: {name: row[f"{name}{where.position}"] for name in names}
        | {"bounds": limits.get(where.position)}
        for where in columns
    }


def _outside(value: pl.Expr, limits: Bounds | None) -> pl.Expr:
    return ~value.is_between(limits.low, limits.high) if limits else pl.lit(False)


def _contract_problems(rows: RawRows, columns: Sequence[Located]) -> Iterator[Problem]:
    """Rules that do not fit the type of their column, and values that break one."""
    checked = {}
    for where in columns:
        try:
            typed_limits(where.column)
        except ValueError as error:
            yield Problem(key=_listed_key(rows, where), message=f"the column '{where.column.name}': {error}")
        else:
            checked[column(where.position)] = where
    frame = rows.frame.select(**{name: typed(rows, where) for name, where in checked.items()})
    for found in violations(frame, {name: where.column for name, where in checked.items()}):
        where = next(w for w in checked.values() if w.column == found.column)
        yield Problem(
            key=f"{_listed_key(rows, where)}.{found.rule}",
            value=found.limit,
            message=str(found),
            remedy="Correct the data, or change the rule",
        )


def _listed_key(rows: RawRows, where: Located) -> str:
    return _key(rows, where) if where.listed is None else f"columns[{where.listed}]"


def _first_row(condition: pl.Expr) -> pl.Expr:
    """The number, from 1, of the first row for which ``condition`` holds; null if there is none."""
    return pl.when(condition).then(pl.col(ROW)).otherwise(None).min() + 1


def _value_problems(rows: RawRows, where: Located, measured: Mapping[str, Any], advice: str = "") -> Iterator[Problem]:
    """Problems of the values of a column; ``advice``: overrides with which they can be read."""
    name, is_target = where.column.name, where.column.name == rows.target
    if measured["bad"]:
        yield _bad_value(rows, where, measured["bad"], advice)
    if measured["infinite"]:
        message = f"row {measured['infinite']} of the column '{name}' is infinite; every number must be finite"
        yield Problem(key=_key(rows, where), message=message, remedy="Correct the value, or leave it empty")
    elif measured["extreme"]:
        row = measured["extreme"]
        yield measured["bounds"].problem(_key(rows, where), where, row, _value(rows, where, row))
    if measured["inexact"] and not (is_target and rows.task is TaskChoice.CLASSIFICATION):
        yield from inexact(rows, where, _key(rows, where))


def _key(rows: RawRows, where: Located) -> str:
    """The config key that selects this column."""
    if where.column.name == rows.target:
        return "target"
    return "path" if where.listed is None else f"columns[{where.listed}]"


def _outlier(rows: RawRows, where: Located, likely: DType, found: Guess, advice: str) -> Problem:
    raw = nonmissing(rows, where)
    value = convert(raw, where.physical, likely, rows.reading, found.form)
    numbered = rows.frame.select(raw=raw, value=value).with_row_index(ROW)
    first = _first_row(pl.col("raw").is_not_null() & pl.col("value").is_null())
    row = numbered.select(first.alias("first")).collect(engine="streaming").item()
    kind = "numbers" if likely is DType.FLOAT else "dates"
    return Problem(
        key=_key(rows, where),
        message=f"row {row} of the column '{where.column.name}' is '{_value(rows, where, row)}', "
        f"but {found.counts[likely]:,} of its {found.counts[DType.STRING]:,} values are {kind}",
        remedy=f"Write {advice}"
        if advice
        else "Correct the value, or add it to dataset.null_values if it means a missing one, "
        "or list the columns in dataset.columns, this one with dtype string, or name it in dataset.exclude",
    )


def _bad_value(rows: RawRows, where: Located, row: int, advice: str) -> Problem:
    dtype, form = where.column.dtype, where.column.format
    given = None if where.listed is None else rows.columns[where.listed].format
    change = "correct the format" if given else f"change the dtype{', or write a format' if dtype.is_time else ''}"
    correct = f"Correct the value, or add it to dataset.null_values if it means a missing one, or {change}"
    return Problem(
        key=f"columns[{where.listed}].{'format' if given else 'dtype'}",
        value=given or dtype.value,
        message=f"row {row} of the column '{where.column.name}' is '{_value(rows, where, row)}', "
        f"which is not {expected(dtype, form)}",
        remedy=f"Write {advice}" if advice else correct,
    )


def _wrong_type(where: Located) -> Problem:
    actual = _physical_kind(where)
    return Problem(
        key=f"columns[{where.listed}].dtype",
        value=where.column.dtype.value,
        message=f"the column '{where.column.name}' holds values of type {actual.value}, not {where.column.dtype.value}",
        remedy=f"Write dtype: {actual.value}",
    )


def _value(rows: RawRows, where: Located, row: int) -> str:
    selected = rows.frame.select(nonmissing(rows, where).alias("value")).slice(row - 1, 1).collect(engine="streaming")
    shown = str(selected.item())
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
