"""Training with LightGBM, on the columns of a file, with categorical features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import LOG_LOSS, HeldOutLoss

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.contracts import Progress
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array, FeatureRows
    from when_ml_pipeline_meets_hydra.ml.models.lightgbm import LightGBMParam
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart


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
    m_param: LightGBMParam,
    param: Mapping[str, Any],
    features: FeatureRows | Array,
    columns: Columns,
    target: Array,
    apart: KeptApart | None,
    progress: Progress,
    weights: Array | None = None,
) -> Trained:
    """Train with LightGBM's own parameters ``param``; with patience, in parts of the rows first, for their number."""
    classes = None
    if task is Task.CLASSIFICATION:
        classes, target = np.unique(target, return_inverse=True)
        several = {"objective": "multiclass", "num_class": len(classes)}
        param = {**param, **(several if len(classes) > 2 else {"objective": "binary"})}
    # The same number of columns per tree as of features.
    fraction = min(1.0, param["feature_fraction"] * features.shape[1] / len(columns))
    param = {**param, "feature_fraction": fraction}
    data = columns.of(features) if isinstance(features, np.ndarray) else columns.of_frame(features.frame())
    rows = lightgbm.Dataset(
        data,
        label=target,
        weight=weights,
        params=dict(param),
        categorical_feature=list(columns.groups),
        free_raw_data=False,
    ).construct()
    folds: list[tuple[Array, Array]] = []
    if m_param.patience and len(target) > 1:
        folds = inner_folds(target, m_param.folds, m_param.seed, is_classes=classes is not None, apart=apart)
    training = _Training(m_param, param, rows, folds, progress)
    trees = training.best_number()
    booster = training.train(rows, trees)
    made = (
        Trained(booster, columns, param["num_threads"])
        if classes is None
        else TrainedClassifier(booster, columns, param["num_threads"], classes)
    )
    made.history_ = training.history  # type: ignore[attr-defined]
    return made


class _Training:
    def __init__(
        self,
        m_param: LightGBMParam,
        param: Mapping[str, Any],
        rows: Any,
        folds: Sequence[tuple[Array, Array]],
        progress: Progress,
    ) -> None:
        self._m_param, self._param, self._rows, self._folds = m_param, param, rows, folds
        self._progress, self._done = progress, 0
        self._total = (len(folds) + 1) * m_param.n_estimators
        is_classifier = param["objective"] in ("binary", "multiclass")
        self._scores = HeldOutLoss(progress, LOG_LOSS if is_classifier else m_param.loss)
        self._best: list[float] = []  # loss on the rows that each fold holds out
        self.history: dict[str, Any] | None = None

    def best_number(self) -> int:
        """Return the mean of the numbers of trees with the lowest loss on the held-out rows of each fold."""
        if not self._folds:
            return self._m_param.n_estimators
        return max(1, round(float(np.mean([self._stopped(*fold) for fold in self._folds]))))

    def _stopped(self, train: Array, validation: Array) -> int:
        losses: dict[str, Any] = {}
        callbacks = [
            lightgbm.early_stopping(self._m_param.patience or 1, verbose=False),
            lightgbm.record_evaluation(losses),
        ]
        parts = {
            name: self._rows.subset(rows) for name, rows in (("training rows", train), ("validation rows", validation))
        }
        booster = self.train(parts["training rows"], self._m_param.n_estimators, callbacks, parts)
        self._done += self._m_param.n_estimators
        self._best.append(min(next(iter(losses["validation rows"].values()))))
        if len(self._best) > 1:
            self._scores(self._done, float(np.mean(self._best)))
        if self.history is None:
            shown = {name: next(iter(values.values())) for name, values in losses.items()}
            self.history = {"step": "tree", "losses": shown, "best": booster.best_iteration}
        return booster.best_iteration or 1

    def train(
        self, rows: Any, trees: int, callbacks: Sequence[Any] = (), validated: Mapping[str, Any] | None = None
    ) -> lightgbm.Booster:
        """Train on ``rows`` with LightGBM; stops by the loss on the last of ``validated``."""

        def report(environment: Any) -> None:
            trees = environment.iteration + 1
            self._progress(self._done + trees, self._total, "trees")
            if validated and not self._best:
                self._scores.after_tree(trees, environment.evaluation_result_list[-1][2])

        made = lightgbm.train(
            dict(self._param),
            rows,
            num_boost_round=trees,
            valid_sets=list(validated.values()) if validated else None,
            valid_names=list(validated) if validated else None,
            callbacks=[report, *callbacks],
        )
        if not validated:
            self._progress(self._total, self._total, "trees")
        return made
