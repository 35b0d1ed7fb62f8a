"""Columns that nearly determine the target by themselves: perhaps they are known only when the target is."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, Table, column

SAMPLE_ROWS, SAMPLE_VALUES = 100_000, 10_000_000
BINS = 50  # of numbers
ROWS_PER_GROUP = 10  # at least, on average: with fewer a group says little
NEARLY, ABOVE_BASE = 0.99, 0.05


def suspects(table: Table, rows: int) -> dict[str, str]:
    """Return the columns that alone nearly determine the target, each with how well, on a sample of the rows."""
    most = max(1, min(SAMPLE_ROWS, SAMPLE_VALUES // max(1, len(table.described))))
    step = max(1, -(-rows // most))
    sample = table.frame.filter(pl.col(ROW) % step == 0, pl.col(TARGET).is_not_null()).collect(engine="streaming")
    find = _regression if table.task is Task.REGRESSION else _classification
    return dict(find(table, sample))


def _regression(table: Table, sample: pl.DataFrame) -> Iterator[tuple[str, str]]:
    target = sample[TARGET].to_physical().cast(pl.Float64)
    spread = target.var(ddof=0) or 0.0
    for k, about in enumerate(table.described):
        groups = _groups(sample[column(k)])
        if groups is None or not isinstance(spread, float) or not spread:
            continue
        grouped = pl.DataFrame({"g": groups, "y": target}).group_by("g").agg(pl.len(), pl.col("y").var(ddof=0))
        within = float((grouped["len"] * grouped["y"].fill_null(0.0)).sum()) / sample.height
        explained = max(1 - within / spread, _correlation(sample[column(k)], target) ** 2)
        if explained >= NEARLY:
            yield about.name, f"explains {_percent(explained)} of the variance of the target"


def _correlation(values: pl.Series, target: pl.Series) -> float:
    """Pearson's correlation of two columns of numbers; 0 if there is none."""
    if not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        return 0.0
    both = pl.DataFrame({"x": values.to_physical().cast(pl.Float64), "y": target}).drop_nulls()
    found = both.select(pl.corr("x", "y")).item()
    return float(found) if found is not None and found == found else 0.0


def _classification(table: Table, sample: pl.DataFrame) -> Iterator[tuple[str, str]]:
    target = sample[TARGET].cast(pl.String)
    if not sample.height:
        return
    base = float(target.value_counts(name="n")["n"].max() or 0) / sample.height  # type: ignore[arg-type]
    for k, about in enumerate(table.described):
        groups = _groups(sample[column(k)])
        if groups is None:
            continue
        counted = pl.DataFrame({"g": groups, "y": target}).group_by("g", "y").len()
        counted = counted.group_by("g").agg(pl.col("len").max())
        right = float(counted["len"].sum()) / sample.height
        if right >= NEARLY and right - base >= ABOVE_BASE:
            yield about.name, f"gives {_percent(right)} of the classes by itself"


def _percent(part: float) -> str:
    return f"{min(part, 0.9999):.2%}".replace("%", " %") if part < 1 else "100 %"


def _groups(values: pl.Series) -> pl.Series | None:
    """The groups of equal values, or of about as many numbers each; None if there are too many of them."""
    if values.n_unique() <= max(BINS, len(values) // ROWS_PER_GROUP) and values.n_unique() * 2 <= len(values):
        return values.cast(pl.String)
    if not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        return None
    rank = values.to_physical().cast(pl.Float64).rank("average")
    bins = min(BINS, len(values) // ROWS_PER_GROUP)
    return (rank / (len(values) + 1) * bins).floor().cast(pl.String) if bins > 1 else None
