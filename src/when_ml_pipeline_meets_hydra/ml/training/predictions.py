"""Predictions of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.matrices import Rows, batches
from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predicted ``values``, [N], numbers or indices of classes; for classes also their ``probabilities``, [N, K]."""

    values: Array
    probabilities: Array | None = None


def predict(estimator: Any, features: Rows | Array, n_classes: int, scale: TargetScale | None = None) -> Predictions:
    """Return the predictions of a fitted estimator.

    Args:
        estimator: a regressor, or a classifier trained on indices of classes, not necessarily all of them.
        features: float32 [N, F].
        n_classes: K, or 0 for a regression.
        scale: of the target that a regressor was trained on; predictions are in the unit of the target.
    """
    if not n_classes:
        parts = [np.asarray(estimator.predict(part), dtype=np.float64).reshape(-1) for part in batches(features)]
        values = np.concatenate(parts)
        return Predictions(values=scale.restore(values) if scale else values)
    probabilities, done = np.zeros((len(features), n_classes)), 0
    for part in batches(features):
        probabilities[done : done + len(part), estimator.classes_] = estimator.predict_proba(part)
        done += len(part)
    return from_probabilities(probabilities)


def naive(task: Task, target: Array, rows: int, n_classes: int, weights: Array | None = None) -> Predictions:
    """Return the naive baseline for ``rows`` rows: the mean of ``target``, or the frequencies of the classes.

    Rows of ``target`` count by their ``weights``.
    """
    if task is Task.REGRESSION:
        return Predictions(values=np.full(rows, np.average(target, weights=weights)))
    frequencies = np.bincount(target, weights=weights, minlength=n_classes) / (
        len(target) if weights is None else weights.sum()
    )
    return from_probabilities(np.tile(frequencies, (rows, 1)))


def from_probabilities(probabilities: Array) -> Predictions:
    """Return the predictions of classes from their probabilities, float64 [N, K], which are normalised in place."""
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # some are 32-bit floats, whose sum is not quite 1
    # The exported graph takes the first of equally likely classes; not every estimator's own predict does.
    return Predictions(values=probabilities.argmax(axis=1), probabilities=probabilities)


def write(
    path: Path, target: Array, predicted: Predictions, classes: tuple[str, ...], weights: Array | None = None
) -> None:
    """Write targets and predictions, and the weights of the rows, as Parquet, one row for each."""
    columns = {"target": target, **({} if weights is None else {"weight": weights}), "prediction": predicted.values}
    if predicted.probabilities is not None:
        columns |= {f"probability_{name}": predicted.probabilities[:, k] for k, name in enumerate(classes)}
    pl.DataFrame(columns).write_parquet(path)
