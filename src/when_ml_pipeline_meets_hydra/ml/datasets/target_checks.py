"""Checks of the column to predict."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, Located, distinct_values, find_task, typed

FEWEST_ROWS, MOST_CLASSES = 10, 1000


def target_problems(rows: RawRows, target: Located, advice: str = "", looks: str = "") -> Iterator[Problem]:
    """Yield all problems of the target's values, which all have its type.

    ``advice``: overrides with which its texts are numbers; they would be classes without. ``looks``: what its texts
    look like, such as ``amounts of money``.
    """
    dtype = target.column.dtype
    frame = rows.frame.select(typed(rows, target).alias(TARGET))
    all_rows, known = frame.select(pl.len(), pl.col(TARGET).count().alias("known")).collect(engine="streaming").row(0)
    if all_rows and not known:
        yield _target(rows, "the column to predict has no value at all", "Choose another column")
        return
    if known < FEWEST_ROWS:
        have = "row has" if known == 1 else "rows have"
        yield _target(rows, f"only {known} {have} a value of it; at least {FEWEST_ROWS} are needed")
        return
    distinct = distinct_values(frame, MOST_CLASSES)
    if distinct == 1:
        yield _target(rows, "it has the same value in every row: there is nothing to predict", "Choose another column")
    elif (advice or looks) and rows.task is not TaskChoice.CLASSIFICATION:
        example = frame.select(pl.col(TARGET).drop_nulls().first()).collect().item()
        kind = "numbers" if advice else looks
        is_open = rows.task is TaskChoice.AUTO
        message = f"its texts, such as '{example}', look like {kind}"
        yield _target(
            rows,
            f"{message}, and would be taken for classes" if is_open else f"{message}, and cannot be read as numbers",
            f"Write {advice or 'plain numbers into the data'}"
            + (", or dataset.task=classification if they are classes" if is_open else ""),
        )
    elif find_task(rows.task, dtype, frame) is Task.CLASSIFICATION:
        yield from _class_problems(rows, frame, distinct)
    elif dtype is DType.STRING:
        message = "the target holds texts, and only numbers can be predicted by regression"
        yield Problem(key="task", value=rows.task.value, message=message, remedy="Write dataset.task=classification")


def _class_problems(rows: RawRows, frame: pl.LazyFrame, distinct: int) -> Iterator[Problem]:
    if distinct > MOST_CLASSES:
        message = f"it has about {distinct:,} different values; at most {MOST_CLASSES:,} classes are possible"
        yield _target(rows, message, "Choose another column, or dataset.task=regression if it holds numbers")
        return
    counted = frame.drop_nulls().group_by(TARGET).len().filter(pl.col("len") < 2).collect(engine="streaming")
    if rare := sorted(map(str, counted[TARGET].to_list())):
        shown = ", ".join(f"'{name}'" for name in rare[:5]) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
        have = "has" if len(rare) == 1 else "have"
        message = f"every class needs two rows or more, one to train on and one held out; {shown} {have} only one"
        yield _target(rows, message, "Leave such rows out, or give them another class")


def _target(rows: RawRows, message: str, remedy: str | None = None) -> Problem:
    return Problem(key="target", value=rows.target, message=message, remedy=remedy)
