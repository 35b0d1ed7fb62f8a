"""Splits by the values of a column: times, groups, marks; and by the place of a row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW
from when_ml_pipeline_meets_hydra.ml.splits.interface import HELD_OUT, SplitRows

_COUNT, _FOLD = "count", "fold"
_MOST_SHOWN = 10


def count(frame: pl.LazyFrame) -> int:
    """Return the number of rows."""
    return int(frame.select(pl.len()).collect(engine="streaming").item())


def from_row(rows: SplitRows, first: int) -> pl.LazyFrame:
    """Hold out the rows from number ``first`` on."""
    return rows.frame.with_columns((pl.col(ROW) >= first).alias(HELD_OUT))


def marked(rows: SplitRows, column: str, mark: str) -> pl.LazyFrame:
    """Hold out the rows whose value of a column is ``mark``.

    Raises:
        StepFailed: no row, or every row has it.
    """
    value = pl.col(rows.places[column]).cast(pl.String)
    values = rows.frame.select(value.unique()).collect(engine="streaming").to_series().to_list()
    if mark not in values or len(values) == 1:
        shown = ", ".join(sorted(map(str, values))[:_MOST_SHOWN])
        raise StepFailed(f"The column '{column}' has the values {shown}; rows with {mark} are held out (split.test)")
    return rows.frame.with_columns((value == mark).fill_null(False).alias(HELD_OUT))


def newest(rows: SplitRows, column: str, fraction: float) -> pl.LazyFrame:
    """Hold out the newest rows, ``fraction`` of them as nearly as whole times allow.

    Raises:
        StepFailed: rows without a time, or all of one time.
    """
    times, before = _times(rows, column)
    wanted = before[-1] * (1 - fraction)
    start = min(range(1, len(times)), key=lambda k: abs(before[k] - wanted))
    return rows.frame.with_columns((pl.col(rows.places[column]) >= times[start]).alias(HELD_OUT))


def window(rows: SplitRows, column: str, number: int, of: int) -> pl.LazyFrame:
    """Hold out the ``number``-th (from 0) of ``of`` equal parts of time after the first part; earlier rows train.

    Raises:
        StepFailed: rows without a time, or too few different times.
    """
    times, before = _times(rows, column)
    starts = _starts(before, of + 1)
    if len(starts) <= of:
        raise StepFailed(f"The column '{column}' has {len(times)} different times: too few for {of} folds")
    time = pl.col(rows.places[column])
    is_held_out = time >= times[starts[number + 1]]
    if number + 1 < of:
        is_held_out = pl.when(time < times[starts[number + 2]]).then(is_held_out)
    return rows.frame.with_columns(is_held_out.alias(HELD_OUT))


def _times(rows: SplitRows, column: str) -> tuple[pl.Series, list[int]]:
    """Return the sorted times, and the number of rows before each of them and in all."""
    found = _counted(rows, column).sort("value")
    if found["value"].dtype in (pl.String, pl.Boolean):
        kind = "texts" if found["value"].dtype == pl.String else "true and false"
        raise StepFailed(f"The column '{column}' holds {kind}, no times: give it a type or a format (dataset.columns)")
    if len(found) < 2:
        raise StepFailed(f"All rows have one value of '{column}': there is no newer part to hold out")
    return found["value"], [0, *found[_COUNT].cum_sum().to_list()]


def _starts(before: Sequence[int], parts: int) -> list[int]:
    """Return the indices of the times at which equal parts begin, as nearly as whole times allow."""
    starts = [0]
    for part in range(1, parts):
        wanted = before[-1] * part / parts
        later = range(starts[-1] + 1, len(before) - 1)
        if later:
            starts.append(min(later, key=lambda k: abs(before[k] - wanted)))
    return starts


def groups(rows: SplitRows, column: str, fraction: float, seed: int) -> pl.LazyFrame:
    """Hold out whole groups, together about ``fraction`` of the rows.

    Raises:
        StepFailed: rows without a group, or all of one group.
    """
    found = _groups(rows, column, 2, seed)
    before = [0, *found[_COUNT].cum_sum().to_list()]
    end = min(range(1, len(found)), key=lambda k: abs(before[k] - before[-1] * fraction))
    return _by_group(rows, column, found.with_columns((pl.int_range(pl.len()) < end).alias(HELD_OUT)))


def group_fold(rows: SplitRows, column: str, number: int, of: int, seed: int) -> pl.LazyFrame:
    """Hold out the groups of one of ``of`` folds, which have about the same number of rows.

    Raises:
        StepFailed: rows without a group, or fewer groups than folds.
    """
    found = _groups(rows, column, of, seed).sort(_COUNT, descending=True, maintain_order=True)
    sizes, folds = [0] * of, []
    for size in found[_COUNT].to_list():
        folds.append(sizes.index(min(sizes)))
        sizes[folds[-1]] += size
    return _by_group(rows, column, found.with_columns(pl.Series(HELD_OUT, [fold == number for fold in folds])))


def _groups(rows: SplitRows, column: str, least: int, seed: int) -> pl.DataFrame:
    """Return the groups with their numbers of rows, in the order of a seeded hash of their names."""
    found = _counted(rows, column)
    if len(found) < least:
        raise StepFailed(f"The column '{column}' has {len(found)} groups: at least {least} are needed")
    names = found["value"].cast(pl.String).to_list()
    hashes = [hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).hexdigest() for name in names]
    return found.with_columns(pl.Series("order", hashes)).sort("order", "value").drop("order")


def _by_group(rows: SplitRows, column: str, sides: pl.DataFrame) -> pl.LazyFrame:
    name = rows.places[column]
    held_out = sides.lazy().select(pl.col("value").alias(name), HELD_OUT)
    return rows.frame.join(held_out, on=name, how="left", maintain_order="left")


def _counted(rows: SplitRows, column: str) -> pl.DataFrame:
    """Return each value of a column with the number of its rows."""
    value = pl.col(rows.places[column]).alias("value")
    found = rows.frame.group_by(value).agg(pl.len().cast(pl.Int64).alias(_COUNT)).collect(engine="streaming")
    missing = found.filter(pl.col("value").is_null())
    if len(missing):
        text = f"{missing[_COUNT][0]:,} rows have no value in '{column}', by which the rows are split"
        raise StepFailed(f"{text}: fill it, or leave these rows out")
    return found
