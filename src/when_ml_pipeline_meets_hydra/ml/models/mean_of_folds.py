"""The mean of models that were each trained without one part of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

Array = np.ndarray[Any, Any]
Part = tuple[Array, Array]  # the rows to train on, and those that are held out


class Member(Protocol):
    """The model of one fold."""

    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K], for merged ``columns`` [N, C] of ``features`` [N, F]."""


class Mean:
    """The mean of the models of all folds."""

    def __init__(self, members: Sequence[Any], columns: Columns, n_jobs: int) -> None:
        self.members, self.columns, self._n_jobs = members, columns, n_jobs

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N]."""
        return self.scores(features)[:, 0]

    def scores(self, features: Array) -> Array:
        """Return numbers or log-odds, [N, K]."""
        columns = self.columns.of(features)
        with threadpool_limits(self._n_jobs):
            mean: Array = np.mean([member.scores(columns, features) for member in self.members], axis=0)
        return mean

    def out_of_fold(self, features: Array, parts: Sequence[Part]) -> Array:
        """Return the predictions, [N, K], of each row by the model that was trained without it; NaN: there is none.

        ``parts`` are those that the models were trained with.
        """
        columns, made = self.columns.of(features), dict[int, Array]()
        for k, (member, (_, rows)) in enumerate(zip(self.members, parts, strict=True)):
            with threadpool_limits(self._n_jobs):
                made[k] = self._predictions(member.scores(columns[rows], features[rows]))
        found = np.full((len(features), made[0].shape[1]), np.nan)
        for k, (_, rows) in enumerate(parts):
            found[rows] = made[k]
        return found

    def _predictions(self, scores: Array) -> Array:
        return scores


class MeanClassifier(Mean):
    """The mean of the log-odds of the models of all folds; ``classes_`` are the indices of the classes."""

    def __init__(self, members: Sequence[Any], columns: Columns, n_jobs: int, classes: Array) -> None:
        super().__init__(members, columns, n_jobs)
        self.classes_ = classes

    def predict(self, features: Array) -> Array:
        """Return the indices of the most likely classes, [N]."""
        predicted: Array = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        return self._predictions(self.scores(features))

    def _predictions(self, scores: Array) -> Array:
        if scores.shape[1] == 1:  # the odds of the second class
            scores = np.hstack((np.zeros_like(scores), scores))
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: Array = powers / powers.sum(axis=1, keepdims=True)
        return probabilities


def mean_of(members: Sequence[Member], columns: Columns, n_jobs: int, classes: Array | None) -> Mean:
    """Return the mean of models of numbers, or of ``classes`` (indices)."""
    if classes is None:
        return Mean(members, columns, n_jobs)
    return MeanClassifier(members, columns, n_jobs, classes)
