"""Training with LightGBM, on the columns of a file, with categorical features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Task

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, FeatureRows


class Columns:
    """The C columns that LightGBM receives for F features: each ``one_hot`` group as one column, all others unchanged.

    The value of a group is the position, from 1, of the feature that is 1, or 0 if there is none. ``sources`` are the
    index of a feature, or the first and the end of a group, for each column; ``groups`` are only the groups.
    """

    def __init__(self, n_features: int, one_hot: Sequence[tuple[int, int]]) -> None:
        grouped = {k for group in one_hot for k in range(*group)}
        alone = [k for k in range(n_features) if k not in grouped]
        self.sources: list[int | tuple[int, int]] = [*alone, *one_hot]
        if one_hot:
            # Each thread of LightGBM bins adjacent columns. Numbers take longest, so they are spread evenly, by
            # reversing the bits of their positions.
            order = sorted(range(len(self.sources)), key=lambda k: f"{k:b}"[::-1])
            self.sources = [self.sources[k] for k in order]
        self.groups = {k: source for k, source in enumerate(self.sources) if not isinstance(source, int)}

    def __len__(self) -> int:
        return len(self.sources)

    def of(self, features: Array) -> Array:
        """Return the columns, float32 [N, C], of features, float32 [N, F]."""
        if not self.groups:
            return features
        made = features.take([source if isinstance(source, int) else source[0] for source in self.sources], axis=1)
        for k, (start, end) in self.groups.items():
            made[:, k] = features[:, start:end] @ np.arange(1, end - start + 1, dtype=np.float32)
        return made

    def of_frame(self, features: pl.DataFrame) -> pl.DataFrame:
        """Return the columns, with LightGBM's names, of features in a data frame."""
        made = [pl.nth(source) if isinstance(source, int) else _code(*source) for source in self.sources]
        named = [x.alias(f"Column_{k}") for k, x in enumerate(made)]
        return features.lazy().select(named).collect(engine="streaming")


def _code(start: int, end: int) -> pl.Expr:
    return pl.sum_horizontal(pl.nth(k).cast(pl.UInt16) * (k - start + 1) for k in range(start, end))


class Trained:
    """Boosted trees that predict numbers."""

    def __init__(self, booster: lightgbm.Booster, columns: Columns, n_jobs: int) -> None:
        self.booster_, self.columns, self._n_jobs = booster, columns, n_jobs

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N]; of classes LightGBM's own output."""
        predicted: Array = np.asarray(self.booster_.predict(self.columns.of(features), num_threads=self._n_jobs))
        return predicted


class TrainedClassifier(Trained):
    """Boosted trees that predict classes; ``classes_`` are the indices of the classes in the training rows."""

    def __init__(self, booster: lightgbm.Booster, columns: Columns, n_jobs: int, classes: Array) -> None:
        super().__init__(booster, columns, n_jobs)
        self.classes_ = classes

    def predict(self, features: Array) -> Array:
        """Return the indices of the most likely classes, [N]."""
        predicted: Array = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        predicted = super().predict(features)
        return predicted if predicted.ndim == 2 else np.column_stack((1 - predicted, predicted))


def boost(
    task: Task,
    param: Mapping[str, Any],
    trees: int,
    features: FeatureRows | Array,
    one_hot: Sequence[tuple[int, int]],
    target: Array,
    report: Callable[[int], None],
) -> Trained:
    """Train ``trees`` trees with LightGBM's own parameters; ``report`` is called with the number of trees so far."""

    def callback(environment: Any) -> None:
        report(environment.iteration + 1)

    classes = None
    if task is Task.CLASSIFICATION:
        classes, target = np.unique(target, return_inverse=True)
        several = {"objective": "multiclass", "num_class": len(classes)}
        param = {**param, **(several if len(classes) > 2 else {"objective": "binary"})}
    columns = Columns(features.shape[1], one_hot)
    # The same number of columns per tree as of features.
    fraction = min(1.0, param["feature_fraction"] * features.shape[1] / len(columns))
    param = {**param, "feature_fraction": fraction}
    data = columns.of(features) if isinstance(features, np.ndarray) else columns.of_frame(features.frame())
    rows = lightgbm.Dataset(data, label=target, params=dict(param), categorical_feature=list(columns.groups))
    booster = lightgbm.train(dict(param), rows, num_boost_round=trees, callbacks=[callback])
    if classes is None:
        return Trained(booster, columns, param["num_threads"])
    return TrainedClassifier(booster, columns, param["num_threads"], classes)
