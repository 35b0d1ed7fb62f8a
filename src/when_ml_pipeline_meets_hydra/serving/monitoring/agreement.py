"""Share of rows for which two versions predict the same."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Task
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array
from when_ml_pipeline_meets_hydra.serving.engine.scorer import Scorer
from when_ml_pipeline_meets_hydra.serving.formats.manifest import Manifest
from when_ml_pipeline_meets_hydra.serving.observations.counters import Rows

MOST_SECONDS = 1.0  # for the rows of one request


def agreement(sample: Iterable[Rows], manifest: Manifest, active: Scorer, tolerance: float) -> tuple[int, int]:
    """Return the number of rows that both versions predicted, and of those with equal predictions.

    Args:
        sample: inputs of the first version with its predictions.
        manifest: manifest of the first version.
        active: the second version.
        tolerance: largest difference of equal numbers, as a part of the spread of the first version's target (or of
            the larger number, for a bundle of an earlier version); classes must be identical.
    """
    compared = agreed = 0
    for rows in sample:
        count = len(rows.outputs[0])
        feeds = {column.name: _feed(column, manifest, rows, count) for column in active.manifest.inputs}
        try:
            other = active.run_unobserved(feeds, time.monotonic() + MOST_SECONDS)
        except Exception:  # rows that it cannot predict are not compared
            continue
        compared += count
        if manifest.task is active.manifest.task:
            agreed += _count_equal(rows.outputs[0].reshape(-1), other[0].reshape(-1), manifest, tolerance)
    return compared, agreed


def _feed(column: Column, manifest: Manifest, rows: Rows, count: int) -> Array:
    """Return an input of the second version; missing values if the first has no such column of that type."""
    is_text = column.dtype.is_text
    if any(c.name == column.name and c.dtype.is_text == is_text for c in manifest.inputs):
        return rows.feeds[column.name]
    return np.full((count, 1), "", dtype=object) if is_text else np.full((count, 1), np.nan)


def _count_equal(first: Array, second: Array, manifest: Manifest, tolerance: float) -> int:
    if manifest.task is Task.CLASSIFICATION:
        return int((first == second).sum())
    first, second = first.astype(float), second.astype(float)
    with np.errstate(invalid="ignore"):
        unit = manifest.spread or np.maximum(np.abs(first), np.abs(second))
        return int((np.abs(first - second) <= tolerance * unit).sum())
