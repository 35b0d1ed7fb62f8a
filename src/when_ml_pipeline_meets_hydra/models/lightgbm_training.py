"""LightGBM at work: it bins rows batch by batch, so that they need not all be in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    data = features if isinstance(features, np.ndarray) else _Batches(features)
    names = [f"Column_{k}" for k in range(features.shape[1])]
    rows = lightgbm.Dataset(data, label=target, params=dict(param), feature_name=names)
    booster = lightgbm.train(dict(param), rows, num_boost_round=trees, callbacks=[callback])
    if classes is None:
        return Trained(booster, param["num_threads"])
    return TrainedClassifier(booster, param["num_threads"], classes)


class _Batches(lightgbm.Sequence):
    """Rows in a file, asked for in order: first some, to find the bins of each feature, then all in batches."""

    def __init__(self, rows: Rows) -> None:
        from when_ml_pipeline_meets_hydra.training.matrices import BATCH

        self.batch_size, self._rows = BATCH, rows
        self._start, self._batch = 0, np.empty((0, 0), dtype=np.float32)
        self._batches: Iterator[Array] = rows.batches()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Array:
        first: int = index.start if isinstance(index, slice) else index
        if first < self._start:
            self._start, self._batch, self._batches = 0, self._batch[:0], self._rows.batches()
        while first >= self._start + len(self._batch):
            self._start += len(self._batch)
            self._batch = next(self._batches)
        if isinstance(index, slice):
            return self._batch[first - self._start : index.stop - self._start]
        row: Array = self._batch[first - self._start].astype(np.float64)
        return row
