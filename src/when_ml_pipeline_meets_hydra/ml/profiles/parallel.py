"""The profiles of all columns of a table, computed in parallel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import Column
from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, Table, column
from when_ml_pipeline_meets_hydra.ml.profiles import columns

MOST_WORKERS = 8  # each may hold one column in memory, for its median and its distinct values


def describe_all(table: Table, rows: int, progress: Progress, workers: int | None = None) -> list[dict[str, Any]]:
    """Return the profile of each column, the target last.

    Threads suffice, since Polars releases Python's global lock.

    Raises:
        StepFailed: a column cannot be described; the first one, if there are several.
    """
    named = [*((column(k), c, "feature") for k, c in enumerate(table.described)), (TARGET, table.target, "target")]
    threads = workers or min(MOST_WORKERS, 2 * pl.thread_pool_size())
    profiles: list[dict[str, Any]] = []
    progress(0, len(named), "columns")
    with ThreadPoolExecutor(threads, thread_name_prefix="column") as pool:
        described = [pool.submit(_described, table, key, about, role, rows) for key, about, role in named]
        try:
            for (_, about, _), future in zip(named, described, strict=True):
                profiles.append(future.result())
                progress(len(profiles), len(named), about.name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the columns in progress are finished
            raise
    return profiles


def _described(table: Table, key: str, about: Column, role: str, rows: int) -> dict[str, Any]:
    try:
        return columns.describe(table.frame.select(pl.col(key).alias("x")), about, role, rows)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise StepFailed(f"The column '{about.name}' cannot be described: {reason}") from error
