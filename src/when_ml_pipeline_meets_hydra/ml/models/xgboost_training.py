"""Training with XGBoost, on categorical features, in folds of the rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

from when_ml_pipeline_meets_hydra.ml.models.boosting_in_folds import Boosting, FoldModel, Report
from when_ml_pipeline_meets_hydra.ml.models.start import start_of
from when_ml_pipeline_meets_hydra.ml.training.param import Loss
from when_ml_pipeline_meets_hydra.ml.training.quantiles import quantile_of

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.xgboost import XGBoost, XGBoostParam

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
class XGBoostOfFold(FoldModel):
    """The model of a fold; ``kinds`` are XGBoost's letters for the columns, [C]."""

    booster: xgboost.Booster
    kinds: Sequence[str]

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


class _Callback(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    def __init__(self, report: Report) -> None:
        self._report = report

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        held_out = next(iter(evals_log.get("validation", {}).values()), (math.nan,))
        self._report(epoch + 1, float(held_out[-1]))
        return False


class XGBoostTraining(Boosting[XGBoostOfFold]):
    """Training with XGBoost."""

    model: XGBoost
    param: XGBoostParam

    def train(self, train: Array, validation: Array, report: Report, trees: int) -> XGBoostOfFold:
        """Train one model; see ``Boosting.train``."""
        param, jobs = self.param, self.model.n_jobs
        start = start_of(self.target[train], self.classes, param.loss, param.quantile, self.weights_of(train))
        parts = {"training": train, **({"validation": validation} if len(validation) else {})}
        sets = [(self._rows(rows, start), name) for name, rows in parts.items()]
        losses: dict[str, dict[str, list[float]]] = {}
        stops = len(validation) > 0 and param.patience is not None
        booster = xgboost.train(
            self._own(train),
            sets[0][0],
            num_boost_round=trees,
            evals=sets,
            early_stopping_rounds=param.patience if stops else None,
            evals_result=losses,
            verbose_eval=False,
            callbacks=[_Callback(report)],
        )
        best = booster.best_iteration + 1 if stops else None
        found = {f"{name} rows": next(iter(values.values())) for name, values in losses.items()}
        kept = booster[:best] if best else booster
        return XGBoostOfFold(booster=kept, start=start, kinds=self._kinds, n_jobs=jobs, losses=found, best=best)

    @property
    def _kinds(self) -> list[str]:
        return ["c" if k in self.columns.groups else "q" for k in range(len(self.columns))]

    def _rows(self, rows: Array, start: Array) -> Any:
        label, weights = self.target[rows], self.weights_of(rows)
        return _matrix(self.data[rows], self._kinds, start, self.model.n_jobs, label, weights)

    def _own(self, train: Array) -> dict[str, Any]:
        """XGBoost's own parameters."""
        param, model = self.param, self.model
        leaves = {"max_leaves": param.num_leaves, "grow_policy": "lossguide"} if param.num_leaves else {}
        depth = param.max_depth or (0 if param.num_leaves else _USUAL_DEPTH)
        shared = {
            "tree_method": "hist",
            "max_bin": _FINE_BINS if len(self.target) <= _SMALL_TABLE else _BINS,
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
            "base_score": 0.0 if not self.classes else 0.5,
            "verbosity": 0,
            **leaves,
        }
        if self.classes > 2:
            several = {"objective": "multi:softprob", "num_class": self.classes}
            return {**shared, **several, "max_delta_step": _MAX_STEP}
        if self.classes:
            return {**shared, "objective": "binary:logistic", "max_delta_step": _MAX_STEP}
        return {**shared, "objective": _OBJECTIVES[param.loss], **self._of_loss(train)}

    def _of_loss(self, train: Array) -> dict[str, float]:
        if self.param.loss is Loss.QUANTILE:
            return {"quantile_alpha": self.param.quantile}
        if self.param.loss is Loss.HUBER:
            target, weights = self.target[train], self.weights_of(train)
            residuals = np.abs(target - quantile_of(target, 0.5, weights))
            return {"huber_slope": quantile_of(residuals, _HUBER_INLIERS, weights) or 1.0}
        return {}


def _matrix(
    columns: Array,
    kinds: Sequence[str],
    start: Array,
    n_jobs: int,
    label: Array | None = None,
    weights: Array | None = None,
) -> Any:
    margin = np.tile(start, (len(columns), 1))
    return xgboost.DMatrix(
        columns.astype(np.float32, copy=False),
        label=label,
        weight=weights,
        base_margin=margin if margin.shape[1] > 1 else margin[:, 0],
        feature_types=list(kinds),
        enable_categorical=True,
        nthread=n_jobs,
    )
