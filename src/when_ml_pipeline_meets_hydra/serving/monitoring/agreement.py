"""How often two versions answer alike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Task
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array
from when_ml_pipeline_meets_hydra.serving.engine.scorer import Scorer
from when_ml_pipeline_meets_hydra.serving.formats.manifest import Manifest
from when_ml_pipeline_meets_hydra.serving.observations.counters import Rows


def agreement(asked: Iterable[Rows], of: Manifest, active: Scorer, tolerance: float) -> tuple[int, int]:
    """How many rows both versions answered, and how many of them alike.

    Args:
        asked: rows that the version of the manifest ``of`` was asked, with its answers.
        of: that manifest.
        active: the other version.
        tolerance: numbers are alike up to this part of the larger one; classes where they are equal.
    """
    compared = agreed = 0
    for rows in asked:
        count = len(rows.outputs[0])
        feeds = {column.name: _feed(column, of, rows, count) for column in active.manifest.inputs}
        try:
            theirs = active.answers(feeds)
        except Exception:  # whatever it cannot answer is nothing to compare with
            continue
        compared += count
        if of.task is active.manifest.task:
            agreed += _alike(rows.outputs[0].reshape(-1), theirs[0].reshape(-1), of.task, tolerance)
    return compared, agreed


def _feed(column: Column, of: Manifest, rows: Rows, count: int) -> Array:
    """A column as the other version knows it; missing where this one knows none of that name and kind."""
    is_text = column.dtype.is_text
    if any(c.name == column.name and c.dtype.is_text == is_text for c in of.inputs):
        return rows.feeds[column.name]
    return np.full((count, 1), "", dtype=object) if is_text else np.full((count, 1), np.nan)


def _alike(mine: Array, theirs: Array, task: Task, tolerance: float) -> int:
    if task is Task.CLASSIFICATION:
        return int((mine == theirs).sum())
    mine, theirs = mine.astype(float), theirs.astype(float)
    with np.errstate(invalid="ignore"):
        return int((np.abs(mine - theirs) <= tolerance * np.maximum(np.abs(mine), np.abs(theirs))).sum())
