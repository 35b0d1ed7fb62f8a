"""Predictions of a model, and their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn import metrics

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.training.matrices import Rows, batches
from when_ml_pipeline_meets_hydra.ml.training.target_scale import TargetScale

Array = np.ndarray[Any, Any]
Metrics = Mapping[str, float]


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


def naive(task: Task, target: Array, rows: int, n_classes: int) -> Predictions:
    """Return the naive baseline for ``rows`` rows: the mean of ``target``, or the frequencies of the classes."""
    if task is Task.REGRESSION:
        return Predictions(values=np.full(rows, target.mean()))
    frequencies = np.bincount(target, minlength=n_classes) / len(target)
    return from_probabilities(np.tile(frequencies, (rows, 1)))


def from_probabilities(probabilities: Array) -> Predictions:
    """Return the predictions of classes from their probabilities, float64 [N, K], which are normalised in place."""
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # some are 32-bit floats, whose sum is not quite 1
    # The exported graph takes the first of equally likely classes; not every estimator's own predict does.
    return Predictions(values=probabilities.argmax(axis=1), probabilities=probabilities)


def evaluate(target: Array, predicted: Predictions) -> Metrics:
    """Return the metrics of predictions, without those that are undefined on these rows.

    Returns:
        For numbers r2, mae and rmse (in units of the target); for classes accuracy, f1_macro, log_loss (in nats)
        and roc_auc (one class against the others, averaged over the classes).
    """
    if predicted.probabilities is None:
        return _numbers(target, predicted.values)
    return _classes(target, predicted.values, predicted.probabilities)


def _numbers(target: Array, values: Array) -> Metrics:
    computed = {
        "mae": float(metrics.mean_absolute_error(target, values)),
        "rmse": float(metrics.root_mean_squared_error(target, values)),
    }
    # One row, or rows that are all alike, have no variance to explain.
    return {"r2": float(metrics.r2_score(target, values)), **computed} if np.ptp(target) > 0 else computed


def _classes(target: Array, values: Array, probabilities: Array) -> Metrics:
    every = np.arange(probabilities.shape[1])
    computed = {
        "accuracy": float(metrics.accuracy_score(target, values)),
        "f1_macro": float(metrics.f1_score(target, values, average="macro", zero_division=0)),
        "log_loss": float(metrics.log_loss(target, probabilities, labels=every)),
    }
    if len(np.unique(target)) == len(every):
        scores = probabilities[:, 1] if len(every) == 2 else probabilities
        computed["roc_auc"] = float(metrics.roc_auc_score(target, scores, multi_class="ovr", labels=every))
    return computed


def write(path: Path, target: Array, predicted: Predictions, classes: tuple[str, ...]) -> None:
    """Write targets and predictions as Parquet, one row for each."""
    columns = {"target": target, "prediction": predicted.values}
    if predicted.probabilities is not None:
        columns |= {f"probability_{name}": predicted.probabilities[:, k] for k, name in enumerate(classes)}
    pl.DataFrame(columns).write_parquet(path)
