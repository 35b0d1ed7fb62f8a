"""Training with CatBoost, on categorical features, in folds of the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import catboost
import numpy as np

from when_ml_pipeline_meets_hydra.ml.models.boosting_in_folds import Boosting, FoldModel, Report
from when_ml_pipeline_meets_hydra.ml.models.start import start_of
from when_ml_pipeline_meets_hydra.ml.training.param import Loss
from when_ml_pipeline_meets_hydra.ml.training.quantiles import quantile_of

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam

Array = np.ndarray[Any, Any]
_HUBER_INLIERS = 0.9
_LOWEST = -3.4028234663852886e38  # stands for a missing number; CatBoost refuses them where training had none


@dataclass(kw_only=True)
class CatBoostOfFold(FoldModel):
    """The model of a fold; ``booster`` is None where there are no trees, ``categorical`` are columns of categories."""

    booster: Any
    categorical: Sequence[int]

    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K]."""
        start: Array = np.tile(self.start, (len(columns), 1))
        if self.booster is None or not len(columns):
            return start
        rows = rows_of(columns, self.categorical)
        found = self.booster.predict(rows, prediction_type="RawFormulaVal", thread_count=self.n_jobs)
        scores: Array = start + np.reshape(found, start.shape)
        return scores


class _Callback:
    """Reports each tree; an exception of the receiver ends the training, and is raised after it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.error: Exception | None = None

    def after_iteration(self, info: Any) -> bool:
        try:
            held_out = next(iter((info.metrics or {}).get("validation", {}).values()), (math.nan,))
            self._report(info.iteration, float(held_out[-1]))
        except Exception as error:  # CatBoost would report it as one of its own
            self.error = error
        return self.error is None


def rows_of(
    columns: Array, categorical: Sequence[int], label: Array | None = None, weights: Array | None = None
) -> Any:
    """Return rows as CatBoost takes them: numbers, then categories as texts."""
    columns = np.nan_to_num(columns, nan=_LOWEST)
    numeric = [k for k in range(columns.shape[1]) if k not in categorical]
    codes = np.array([b"%d" % k for k in range(int(columns[:, list(categorical)].max(initial=0)) + 1)], dtype=object)
    data = catboost.FeaturesData(
        num_feature_data=np.ascontiguousarray(columns[:, numeric], dtype=np.float32) if numeric else None,
        cat_feature_data=codes[columns[:, list(categorical)].astype(np.int64)] if len(categorical) else None,
    )
    return catboost.Pool(data, label=label, weight=weights)


class CatBoostTraining(Boosting[CatBoostOfFold]):
    """Training with CatBoost."""

    model: CatBoost
    param: CatBoostParam

    def train(self, train: Array, validation: Array, report: Report, trees: int) -> CatBoostOfFold:
        """Train one model; see ``Boosting.train``."""
        param, known = self.param, self.data[train]
        start = start_of(self.target[train], self.classes, param.loss, param.quantile, self.weights_of(train))
        shared: dict[str, Any] = {"start": start, "categorical": list(self.columns.groups), "n_jobs": self.model.n_jobs}
        if (known == known[0]).all():  # CatBoost refuses to train on these
            return CatBoostOfFold(booster=None, losses={}, best=None, **shared)
        stops = len(validation) > 0 and param.patience is not None
        booster = catboost.CatBoost(self._own(train, start, trees, stops=stops))
        held = self._rows(validation, start) if len(validation) else None
        callback = _Callback(report)
        booster.fit(self._rows(train, start), eval_set=held, callbacks=[callback], verbose=False)
        if callback.error:
            raise callback.error
        losses = {name: next(iter(values.values())) for name, values in booster.get_evals_result().items()}
        named = {{"learn": "training rows"}.get(name, "validation rows"): values for name, values in losses.items()}
        return CatBoostOfFold(booster=booster, losses=named, best=booster.tree_count_ if stops else None, **shared)

    def _rows(self, rows: Array, start: Array) -> Any:
        pool = rows_of(self.data[rows], list(self.columns.groups), self.target[rows], self.weights_of(rows))
        if self.classes <= 2:
            pool.set_baseline(np.full(len(rows), start[0]))
        else:
            pool.set_baseline(np.tile(start, (len(rows), 1)))
        return pool

    def _own(self, train: Array, start: Array, trees: int, *, stops: bool) -> dict[str, Any]:
        """CatBoost's own parameters."""
        param, model = self.param, self.model
        # Its default, the exact quantile of a leaf, is another one where rows have weights (seen in 1.2.10).
        is_quantile = not self.classes and param.loss in (Loss.QUANTILE, Loss.ABSOLUTE_ERROR)
        leaves = {"leaf_estimation_method": "Gradient"} if is_quantile and self.weights is not None else {}
        stop = {"od_type": "Iter", "od_wait": param.patience, "use_best_model": True} if stops else {}
        return {
            "iterations": trees,
            "learning_rate": param.learning_rate,
            "depth": param.max_depth,
            "l2_leaf_reg": param.l2,
            "random_strength": param.random_strength,
            "rsm": model.max_features,
            "max_ctr_complexity": 1,
            "random_seed": param.seed,
            "thread_count": model.n_jobs,
            "boost_from_average": False,
            "allow_writing_files": False,
            "logging_level": "Silent",
            "loss_function": self._loss(self.target[train] - start[0], self.weights_of(train)),
            **({"classes_count": self.classes} if self.classes > 2 else {}),
            **({} if stops else {"use_best_model": False}),
            **leaves,
            **stop,
        }

    def _loss(self, residuals: Array, weights: Array | None) -> str:
        if self.classes:
            return "MultiClass" if self.classes > 2 else "Logloss"
        if self.param.loss is Loss.HUBER:
            return f"Huber:delta={quantile_of(np.abs(residuals), _HUBER_INLIERS, weights) or 1.0}"
        losses = {Loss.SQUARED_ERROR: "RMSE", Loss.ABSOLUTE_ERROR: "MAE"}
        return losses.get(self.param.loss, f"Quantile:alpha={self.param.quantile}")
