"""Convert a comparison to a data frame with typed columns, CSV and Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.records.compare import Combination, Comparison, format_value

if TYPE_CHECKING:
    import polars as pl


def csv_of(comparison: Comparison) -> bytes:
    """Return a comparison as CSV; the numbers of the jobs, and of the trials, are in one cell, separated by spaces."""
    import polars as pl

    file, lists = io.BytesIO(), ["jobs", "trials"] if comparison.has_trials else ["jobs"]
    frame(comparison).with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join(" ")).write_csv(file)
    return file.getvalue()


def parquet_of(comparison: Comparison) -> bytes:
    """Return a comparison as Parquet."""
    file = io.BytesIO()
    frame(comparison).write_parquet(file)
    return file.getvalue()


def frame(comparison: Comparison) -> pl.DataFrame:
    """Return a row per combination: ``run``, ``jobs``, ``trials``, differing keys, statuses, metrics.

    ``trials`` is there if any run is a search; ``status`` is followed by ``<stage>.status`` for each stage. A metric
    that is a mean has its standard deviation in a further column, ``<metric>.deviation``.

    Columns of config keys are Boolean, Int64 or Float64 if all values fit, otherwise strings in the notation of
    overrides.
    """
    import polars as pl

    rows = comparison.rows
    taken = {"run", "jobs", "trials", "status", *(f"{s}.status" for s in comparison.stages), *comparison.metrics}
    columns = [
        pl.Series("run", [r.run for r in rows], pl.String),
        pl.Series("jobs", [list(r.jobs) for r in rows], pl.List(pl.Int64)),
        *([pl.Series("trials", [list(r.trials) for r in rows], pl.List(pl.Int64))] if comparison.has_trials else []),
        *(_column(f"config.{k}" if k in taken else k, [r.values.get(k) for r in rows]) for k in comparison.keys),
        pl.Series("status", [r.status for r in rows], pl.String),
        *(pl.Series(f"{s}.status", [r.stages.get(s) for r in rows], pl.String) for s in comparison.stages),
        *(column for m in comparison.metrics for column in _measured(m, rows)),
    ]
    return pl.DataFrame(columns)


def _measured(metric: str, rows: Sequence[Combination]) -> Iterator[pl.Series]:
    yield _column(metric, [row.metrics.get(metric) for row in rows])
    if any(metric in row.deviations for row in rows):
        yield _column(f"{metric}.deviation", [row.deviations.get(metric) for row in rows])


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    kinds = {type(v) for v in values if v is not None}
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if kinds == {int} and all(v is None or abs(v) < 2**63 for v in values):
        return pl.Series(name, values, pl.Int64)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if v is None else float(v) for v in values], pl.Float64)
    return pl.Series(name, [None if v is None else format_value(v) for v in values], pl.String)
