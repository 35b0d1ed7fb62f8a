"""Whether the rows of a second file can be read as those of a data set, whose types it must not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets import checks
from when_ml_pipeline_meets_hydra.ml.datasets.column_contracts import violations
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, Table, column, table
from when_ml_pipeline_meets_hydra.ml.datasets.values import dtype_of

_MOST_SHOWN = 5
_NUMBERS = (DType.INT, DType.FLOAT)
_CORRECT = (
    "Correct it there, or add what means a missing value to dataset.null_values, "
    "or list the columns in dataset.columns, this one with another dtype"
)


def misfits(own: RawRows, other: RawRows) -> Iterator[Problem]:
    """Yield what is wrong with the values of ``other``, which has the columns of ``own``: types, rules, and classes.

    A column of whole numbers may have others there. Raises ``BadInput`` if ``own`` cannot be read.
    """
    known = table(own)
    kinds = list(_other_kinds(own, other, known))
    yield from kinds
    if kinds:
        return
    columns = tuple(map(_wider, (*known.columns, known.target)))
    task = TaskChoice(known.task.value)
    way = replace(other, reading=known.reading, target=own.target, task=task)
    rows = replace(way, columns=columns, exclude=(), features={})
    found = [replace(p, remedy=_CORRECT) for p in checks.unreadable(rows)]
    yield from found
    if not found:
        read = table(rows)
        places = {column(k): c for k, c in enumerate(read.columns)}
        yield from (Problem(key="", message=str(violation)) for violation in violations(read.frame, places))
        yield from _unseen_classes(known, read)


def _wider(own: Column) -> Column:
    return replace(own, dtype=DType.FLOAT) if own.dtype is DType.INT and not own.has_contract else own


def _other_kinds(own: RawRows, other: RawRows, known: Table) -> Iterator[Problem]:
    """The columns whose values have another type in the file itself, so that both files together would be texts."""
    one, two = own.frame.collect_schema(), other.frame.collect_schema()
    for name in (c.name for c in (*known.columns, known.target)):
        kinds = [dtype_of(schema[name]) for schema in (one, two)]
        empty = pl.Null in (one[name], two[name])
        if kinds[0] is not kinds[1] and not empty and not set(kinds) <= set(_NUMBERS):
            message = f"the column '{name}' holds values of type {two[name]}, and of type {one[name]} in the data set"
            yield Problem(key="", message=message, remedy="Write both files with the same types")


def _unseen_classes(known: Table, read: Table) -> Iterator[Problem]:
    if known.task is not Task.CLASSIFICATION:
        return
    own, there = (
        t.frame.select(pl.col(TARGET).cast(pl.String).drop_nulls().unique().sort()).collect(engine="streaming")[TARGET]
        for t in (known, read)
    )
    if unseen := sorted(set(there) - set(own)):
        more = f" and {len(unseen) - _MOST_SHOWN} more" if len(unseen) > _MOST_SHOWN else ""
        shown = ", ".join(f"'{name}'" for name in unseen[:_MOST_SHOWN]) + more
        one = len(unseen) == 1
        message = f"no training row has the class{'' if one else 'es'} {shown}, which cannot be learnt"
        yield Problem(key="", message=message, remedy="Leave such rows out, or add some to the data set")
