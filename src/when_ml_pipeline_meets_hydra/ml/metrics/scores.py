"""The metrics that every model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics

from when_ml_pipeline_meets_hydra.ml.evaluation import beside

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions

Array = np.ndarray[Any, Any]
Metrics = Mapping[str, float]


def evaluate(
    target: Array, predicted: Predictions, weights: Array | None = None, quantile: float | None = None
) -> Metrics:
    """Return the metrics of predictions, without those that are ``undefined`` on these rows.

    Args:
        target: [N], numbers or indices of classes.
        predicted: the predictions for these rows.
        weights: of the rows, positive, [N]; None: all count the same.
        quantile: the one that is predicted, of which ``pinball`` is the loss; None: there is no such metric.

    Returns:
        For numbers r2, mae and rmse (in units of the target), mape (a part of the target) and pinball; for classes
        accuracy, balanced_accuracy (the mean of the classes' recalls), f1_macro, log_loss (in nats), and roc_auc and
        average_precision (of the second of two classes; otherwise of each class against the others, averaged).
    """
    if predicted.probabilities is None:
        found = _numbers(target, predicted.values, weights)
        return found if quantile is None else {**found, "pinball": pinball(target, predicted.values, quantile, weights)}
    return _classes(target, predicted.values, predicted.probabilities, weights)


def undefined(target: Array, predicted: Predictions) -> Mapping[str, str]:
    """Return the metrics that are undefined on these rows, each with the reason."""
    rows = len(target)
    if predicted.probabilities is None:
        zeros = int(np.sum(target == 0))
        are = "target is" if zeros == 1 else "targets are"
        return {
            **({} if np.ptp(target) > 0 else {"r2": "all targets are equal" if rows > 1 else "there is a single row"}),
            **({"mape": f"{zeros:,} of {rows:,} {are} 0"} if zeros else {}),
        }
    classes, found = predicted.probabilities.shape[1], len(np.unique(target))
    if found == classes:
        return {}
    reason = f"{found} of {classes} classes {'occurs' if found == 1 else 'occur'} in these rows"
    return {"roc_auc": reason, "average_precision": reason}


def shown(metrics: Metrics, baseline: Metrics, without: Mapping[str, str]) -> str:
    """Return metrics in a line, with those of the naive baseline, and the undefined ones with the reason."""
    found = [f"{name} {value:.4g}{beside(baseline, name)}" for name, value in metrics.items()]
    return ", ".join([*found, *(f"{name} undefined ({reason})" for name, reason in without.items())])


def pinball(target: Array, values: Array, quantile: float, weights: Array | None = None) -> float:
    """Return the pinball loss of predicted quantiles, in units of the target (Koenker and Bassett, 1978)."""
    return float(metrics.mean_pinball_loss(target, values, alpha=quantile, sample_weight=weights))


def _numbers(target: Array, values: Array, weights: Array | None) -> dict[str, float]:
    computed = {
        "mae": float(metrics.mean_absolute_error(target, values, sample_weight=weights)),
        "rmse": float(metrics.root_mean_squared_error(target, values, sample_weight=weights)),
    }
    if np.ptp(target) > 0:
        computed = {"r2": float(metrics.r2_score(target, values, sample_weight=weights)), **computed}
    if np.all(target != 0):
        computed["mape"] = float(metrics.mean_absolute_percentage_error(target, values, sample_weight=weights))
    return computed


def _classes(target: Array, values: Array, probabilities: Array, weights: Array | None) -> dict[str, float]:
    every, present = np.arange(probabilities.shape[1]), np.unique(target)
    recalls = metrics.recall_score(target, values, labels=present, average="macro", sample_weight=weights)
    f1 = metrics.f1_score(target, values, average="macro", zero_division=0, sample_weight=weights)
    computed = {
        "accuracy": float(metrics.accuracy_score(target, values, sample_weight=weights)),
        "balanced_accuracy": float(recalls),
        "f1_macro": float(f1),
        "log_loss": float(metrics.log_loss(target, probabilities, labels=every, sample_weight=weights)),
    }
    if len(present) == len(every):
        scores = probabilities[:, 1] if len(every) == 2 else probabilities
        area = metrics.roc_auc_score(target, scores, multi_class="ovr", labels=every, sample_weight=weights)
        precision = metrics.average_precision_score(target, scores, sample_weight=weights)
        computed |= {"roc_auc": float(area), "average_precision": float(precision)}
    return computed
