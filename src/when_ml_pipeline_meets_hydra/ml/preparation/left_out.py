"""What preparation leaves out, and what is not obvious of the columns: one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, Table, column
from when_ml_pipeline_meets_hydra.ml.preparation.fit import Fitted

MOST_SHOWN = 20


def left_out(table: Table, fitted: Fitted) -> str:
    """Return rows without target, columns without a feature, and what their texts look like; "" if there is nothing."""
    rows: int = table.frame.select(pl.col(TARGET).null_count()).collect(engine="streaming").item()
    remarks = table.remarks
    without = [c.index for c in fitted.categories if not c.values]
    featureless = {table.described[k].name for k in without}
    looks = [f"{name} (looks like {what})" for name, what in remarks.looks.items() if name not in featureless]
    numbers = [f"{name} (looks like dates {form})" for name, form in remarks.like_dates.items()]
    formats = [f"{name} ({form})" for name, form in remarks.formats.items()]
    cut = [
        f"{table.described[c.index].name} ({len(c.values):,} of {len(c.values) + c.more:,})"
        for c in fitted.categories
        if c.more
    ]
    zones = [f"{name} ({how})" for name, how in remarks.zones.items()]
    parts = [
        f"{rows:,} row{'' if rows == 1 else 's'} without target left out" if rows else "",
        _listed("no feature from", [*_reasons(table, without), *_sources(table), *remarks.left_out]),
        _listed("different texts are the same value", remarks.merged),
        _listed("of a table of this size only the most frequent texts, without p_param.max_categories", cut),
        _listed("read as texts", looks),
        _listed("read as numbers", numbers),
        _listed("read as dates", formats),
        _listed("time zones", zones),
        _listed("not read", remarks.unread),
        _of_target(table),
    ]
    return "; ".join(filter(None, parts))


def _of_target(table: Table) -> str:
    """Return what a number means that is predicted for a point in time; "" for other targets, and for classes."""
    dtype = table.target.dtype
    if not dtype.is_time or table.task is not Task.REGRESSION:
        return ""
    unit = "days" if dtype is DType.DATE else "seconds"
    return f"the target {table.target.name} is a {dtype}: predictions are {unit} since 1970-01-01"


def _listed(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else ""
    return f"{what}: {', '.join(names[:MOST_SHOWN])}{more}" if names else ""


def _reasons(table: Table, indices: Sequence[int]) -> Iterator[str]:
    """The columns of texts without a feature, each with the reason."""
    for index, (count, distinct) in zip(indices, _counts(table, indices), strict=True):
        name = table.described[index].name
        looks = table.remarks.looks.get(name)
        kind = f"text; looks like {looks}" if looks else "" if distinct == count else f"text; {distinct:,} different"
        yield f"{name} ({kind or 'all different'})"


def _sources(table: Table) -> Iterator[str]:
    yield from (f"{table.columns[k].name} (read for dataset.features alone)" for k in sorted(table.sources))


def _counts(table: Table, indices: Iterable[int]) -> list[tuple[int, int]]:
    """For each column the number of values and of different ones, among the first million rows."""
    names = [column(k) for k in indices]
    if not names:
        return []
    values = table.frame.head(1_000_000).select(names)
    counted = values.select(
        expression.alias(f"{name} {what}")
        for name in names
        for what, expression in (("count", pl.col(name).count()), ("distinct", pl.col(name).drop_nulls().n_unique()))
    )
    row = counted.collect(engine="streaming").row(0)
    return list(zip(row[::2], row[1::2], strict=True))
