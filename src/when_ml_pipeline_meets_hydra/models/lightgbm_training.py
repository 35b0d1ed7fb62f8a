"""LightGBM at work: it bins the columns of a file as they are, so that no matrix of them is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from when_ml_pipeline_meets_hydra.stages.artifacts import Task

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.models.interface import Array, Rows


class Trained:
    """Boosted trees that predict numbers."""

    def __init__(self, booster: lightgbm.Booster, n_jobs: int) -> None:
        self.booster_, self._n_jobs = booster, n_jobs

    def predict(self, features: Array) -> Array:
        """The predictions, [N]; or what LightGBM says of classes."""
        found: Array = np.asarray(self.booster_.predict(features, num_threads=self._n_jobs))
        return found


class TrainedClassifier(Trained):
    """Boosted trees that predict classes; ``classes_`` are the indices of those that they know."""

    def __init__(self, booster: lightgbm.Booster, n_jobs: int, classes: Array) -> None:
        super().__init__(booster, n_jobs)
        self.classes_ = classes

    def predict(self, features: Array) -> Array:
        """The indices of the most likely classes, [N]."""
        found: Array = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return found

    def predict_proba(self, features: Array) -> Array:
        """The probabilities, [N, K], of ``classes_``."""
        found = super().predict(features)
        return found if found.ndim == 2 else np.column_stack((1 - found, found))


def boost(
    task: Task, param: Mapping[str, Any], trees: int, features: Rows | Array, target: Array, told: Callable[[int], None]
) -> Trained:
    """Train ``trees`` trees with LightGBM's own parameters; ``told`` receives how many there are."""

    def callback(environment: Any) -> None:
        told(environment.iteration + 1)

    classes = None
    if task is Task.CLASSIFICATION:
        classes, target = np.unique(target, return_inverse=True)
        several = {"objective": "multiclass", "num_class": len(classes)}
        param = {**param, **(several if len(classes) > 2 else {"objective": "binary"})}
    data = features if isinstance(features, np.ndarray) else features.frame()
    names = [f"Column_{k}" for k in range(features.shape[1])]
    rows = lightgbm.Dataset(data, label=target, params=dict(param), feature_name=names)
    booster = lightgbm.train(dict(param), rows, num_boost_round=trees, callbacks=[callback])
    if classes is None:
        return Trained(booster, param["num_threads"])
    return TrainedClassifier(booster, param["num_threads"], classes)
