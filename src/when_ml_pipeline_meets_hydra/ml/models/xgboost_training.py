"""Training with XGBoost, on categorical features, in folds of the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean, Part, mean_of
from when_ml_pipeline_meets_hydra.ml.models.start import start_of
from when_ml_pipeline_meets_hydra.ml.training.param import Loss

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import FeatureRows
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns
    from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

Array = np.ndarray[Any, Any]
_HUBER_INLIERS = 0.9
# In a small table a bin has few rows, and finer ones cost little.
_SMALL_TABLE, _FINE_BINS, _BINS = 20_000, 1023, 256  # rows, bins, bins
_MAX_STEP = 10  # largest change of a class's log-odds by one leaf, before the learning rate
_USUAL_DEPTH = 6
_OBJECTIVES = {
    Loss.SQUARED_ERROR: "reg:squarederror",
    Loss.ABSOLUTE_ERROR: "reg:absoluteerror",
    Loss.HUBER: "reg:pseudohubererror",
    Loss.QUANTILE: "reg:quantileerror",
}


@dataclass(kw_only=True)
class Member:
    """The model of a fold: ``start`` [K] plus the trees of ``booster``, and its ``losses``, by the name of the rows."""

    booster: xgboost.Booster
    start: Array
    kinds: Sequence[str]
    n_jobs: int
    losses: Mapping[str, Sequence[float]]
    best: int | None

    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K]: the leaves that XGBoost finds, not summed in 32-bit floats as it does."""
        scores = np.tile(self.start, (len(columns), 1))
        if not len(columns):
            return scores
        rows = _matrix(columns, self.kinds, self.start, self.n_jobs)
        found = np.reshape(self.booster.predict(rows, pred_leaf=True), (len(columns), -1)).astype(np.int64)
        for k, (values, target) in enumerate(self._leaves):
            scores[:, target] += values[found[:, k]]
        return scores

    @cached_property
    def trees(self) -> Sequence[tuple[Mapping[str, Any], int]]:
        """The trees as XGBoost writes them, each with its target."""
        content = json.loads(self.booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
        return list(zip(content["trees"], content["tree_info"], strict=True))

    @cached_property
    def _leaves(self) -> Sequence[tuple[Array, int]]:
        """The value of each node of each tree, if it is a leaf, and the tree's target."""
        return [(np.asarray(t["split_conditions"], dtype=np.float32).astype(np.float64), k) for t, k in self.trees]


class _Report(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    def __init__(self, progress: Progress, before: int, total: int) -> None:
        self._progress, self._before, self._total = progress, before, total

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._progress(self._before + epoch + 1, self._total, "trees")
        return False


def boost(
    model: XGBoost,
    task: Task,
    param: XGBoostParam,
    features: FeatureRows | Array,
    target: Array,
    columns: Columns,
    apart: KeptApart | None,
    progress: Progress,
    parts: Sequence[Part] | None = None,
) -> Mean:
    """Train a model in each fold; ``parts`` are those to use, if they are given."""
    classes = None
    if task is Task.CLASSIFICATION:
        classes, target = np.unique(target, return_inverse=True)
    data = columns.of(features) if isinstance(features, np.ndarray) else columns.of_frame(features.frame()).to_numpy()
    training = _Training(model, param, columns, data, target, 0 if classes is None else len(classes))
    if apart and apart.in_time and param.patience and not parts:
        members = training.forward_in_time(apart, progress)
    else:
        members = training.members(parts or training.parts(apart), progress)
    made = mean_of(members, columns, model.n_jobs, classes)
    made.history_ = _history(members)  # type: ignore[attr-defined]
    return made


class _Training:
    def __init__(
        self, model: XGBoost, param: XGBoostParam, columns: Columns, data: Array, target: Array, classes: int
    ) -> None:
        self._model, self._param, self._data, self._target, self._classes = model, param, data, target, classes
        self._kinds = ["c" if k in columns.groups else "q" for k in range(len(columns))]

    def parts(self, apart: KeptApart | None) -> Sequence[Part]:
        """Return the rows to train on and to validate on of each fold; without patience, all and none."""
        param, everything = self._param, np.arange(len(self._target))
        found: Sequence[Part] = ()
        if param.patience is not None and len(everything) > 1:
            is_classes = self._classes > 0
            found = inner_folds(self._target, param.folds, param.seed, is_classes=is_classes, apart=apart)
        return found or [(everything, everything[:0])]

    def forward_in_time(self, apart: KeptApart, progress: Progress) -> list[Member]:
        """Train on all rows, as many trees as have the lowest loss on the newest ones."""
        most, everything = self._param.n_estimators, np.arange(len(self._target))
        first = self._member(*self.parts(apart)[0], _Report(progress, 0, 2 * most))
        last = self._member(everything, everything[:0], _Report(progress, most, 2 * most), first.best)
        progress(2 * most, 2 * most, "trees")
        return [replace(last, losses=first.losses, best=first.best)]

    def members(self, parts: Sequence[Part], progress: Progress) -> list[Member]:
        """Train the model of each fold."""
        param = self._param
        total, made = len(parts) * param.n_estimators, list[Member]()
        for k, (train, validation) in enumerate(parts):
            made.append(self._member(train, validation, _Report(progress, k * param.n_estimators, total)))
        progress(total, total, "trees")
        return made

    def _member(self, train: Array, validation: Array, report: _Report, trees: int | None = None) -> Member:
        param, jobs = self._param, self._model.n_jobs
        start = start_of(self._target[train], self._classes, param.loss, param.quantile)
        parts = {"training": train, **({"validation": validation} if len(validation) else {})}
        sets = [(self._rows(rows, start), name) for name, rows in parts.items()]
        losses: dict[str, dict[str, list[float]]] = {}
        stops = len(validation) > 0 and param.patience is not None
        booster = xgboost.train(
            self._own(train),
            sets[0][0],
            num_boost_round=trees or param.n_estimators,
            evals=sets,
            early_stopping_rounds=param.patience if stops else None,
            evals_result=losses,
            verbose_eval=False,
            callbacks=[report],
        )
        best = booster.best_iteration + 1 if stops else None
        found = {f"{name} rows": next(iter(values.values())) for name, values in losses.items()}
        kept = booster[:best] if best else booster
        return Member(booster=kept, start=start, kinds=self._kinds, n_jobs=jobs, losses=found, best=best)

    def _rows(self, rows: Array, start: Array) -> Any:
        return _matrix(self._data[rows], self._kinds, start, self._model.n_jobs, self._target[rows])

    def _own(self, train: Array) -> dict[str, Any]:
        """XGBoost's own parameters."""
        param, model = self._param, self._model
        leaves = {"max_leaves": param.num_leaves, "grow_policy": "lossguide"} if param.num_leaves else {}
        depth = param.max_depth or (0 if param.num_leaves else _USUAL_DEPTH)
        shared = {
            "tree_method": "hist",
            "max_bin": _FINE_BINS if len(self._target) <= _SMALL_TABLE else _BINS,
            "eta": param.learning_rate,
            "max_depth": depth,
            "min_child_weight": param.min_child_weight,
            "gamma": param.gamma,
            "alpha": param.l1,
            "lambda": param.l2,
            "subsample": model.subsample,
            "colsample_bynode": model.max_features,
            "seed": param.seed,
            "nthread": model.n_jobs,
            "base_score": 0.0 if not self._classes else 0.5,
            "verbosity": 0,
            **leaves,
        }
        if self._classes > 2:
            several = {"objective": "multi:softprob", "num_class": self._classes}
            return {**shared, **several, "max_delta_step": _MAX_STEP}
        if self._classes:
            return {**shared, "objective": "binary:logistic", "max_delta_step": _MAX_STEP}
        return {**shared, "objective": _OBJECTIVES[param.loss], **self._of_loss(self._target[train])}

    def _of_loss(self, target: Array) -> dict[str, float]:
        if self._param.loss is Loss.QUANTILE:
            return {"quantile_alpha": self._param.quantile}
        if self._param.loss is Loss.HUBER:
            return {"huber_slope": float(np.quantile(np.abs(target - np.median(target)), _HUBER_INLIERS)) or 1.0}
        return {}


def _matrix(columns: Array, kinds: Sequence[str], start: Array, n_jobs: int, label: Array | None = None) -> Any:
    margin = np.tile(start, (len(columns), 1))
    return xgboost.DMatrix(
        columns.astype(np.float32, copy=False),
        label=label,
        base_margin=margin if margin.shape[1] > 1 else margin[:, 0],
        feature_types=list(kinds),
        enable_categorical=True,
        nthread=n_jobs,
    )


def _history(members: Sequence[Member]) -> dict[str, Any]:
    """The losses of the first model; see ``Model.fit``."""
    more = f" (the first of {len(members)} models)" if len(members) > 1 else ""
    losses = {f"{name}{more}": list(values) for name, values in members[0].losses.items()}
    return {"step": "tree", "losses": losses, "best": members[0].best}
