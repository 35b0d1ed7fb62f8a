"""Training with CatBoost, on categorical features, in folds of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import catboost
import numpy as np

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean, Part, mean_of
from when_ml_pipeline_meets_hydra.ml.models.start import start_of
from when_ml_pipeline_meets_hydra.ml.training.param import Loss

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.catboost import CatBoost, CatBoostParam
    from when_ml_pipeline_meets_hydra.ml.models.interface import FeatureRows
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

Array = np.ndarray[Any, Any]
_HUBER_INLIERS = 0.9
_LOWEST = -3.4028234663852886e38  # stands for a missing number; CatBoost refuses them where training had none


@dataclass(frozen=True, kw_only=True)
class Member:
    """The model of a fold: ``start`` [K] plus the trees of ``booster``, which is None where there are none."""

    booster: Any
    start: Array
    categorical: Sequence[int]
    n_jobs: int
    losses: Mapping[str, Sequence[float]]
    best: int | None

    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K]."""
        start: Array = np.tile(self.start, (len(columns), 1))
        if self.booster is None or not len(columns):
            return start
        rows = rows_of(columns, self.categorical)
        found = self.booster.predict(rows, prediction_type="RawFormulaVal", thread_count=self.n_jobs)
        scores: Array = start + np.reshape(found, start.shape)
        return scores


class _Report:
    """Reports each tree; an exception of the receiver ends the training, and is raised after it."""

    def __init__(self, progress: Progress, before: int, total: int) -> None:
        self._progress, self._before, self._total = progress, before, total
        self.error: Exception | None = None

    def after_iteration(self, info: Any) -> bool:
        try:
            self._progress(self._before + info.iteration, self._total, "trees")
        except Exception as error:  # CatBoost would report it as one of its own
            self.error = error
        return self.error is None


def rows_of(columns: Array, categorical: Sequence[int], label: Array | None = None) -> Any:
    """Return rows as CatBoost takes them: numbers, then categories as texts."""
    columns = np.nan_to_num(columns, nan=_LOWEST)
    numeric = [k for k in range(columns.shape[1]) if k not in categorical]
    codes = np.array([b"%d" % k for k in range(int(columns[:, list(categorical)].max(initial=0)) + 1)], dtype=object)
    data = catboost.FeaturesData(
        num_feature_data=np.ascontiguousarray(columns[:, numeric], dtype=np.float32) if numeric else None,
        cat_feature_data=codes[columns[:, list(categorical)].astype(np.int64)] if len(categorical) else None,
    )
    return catboost.Pool(data, label=label)


def boost(
    model: CatBoost,
    task: Task,
    param: CatBoostParam,
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
    training = _Training(model, param, list(columns.groups), data, target, 0 if classes is None else len(classes))
    if apart and apart.in_time and param.patience and not parts:
        members = training.forward_in_time(apart, progress)
    else:
        members = training.members(parts or training.parts(apart), progress)
    made = mean_of(members, columns, model.n_jobs, classes)
    made.history_ = _history(members)  # type: ignore[attr-defined]
    return made


class _Training:
    def __init__(
        self, model: CatBoost, param: CatBoostParam, categorical: list[int], data: Array, target: Array, classes: int
    ) -> None:
        self._model, self._param, self._data, self._target, self._classes = model, param, data, target, classes
        self._categorical = categorical

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
        param, known = self._param, self._data[train]
        start = start_of(self._target[train], self._classes, param.loss, param.quantile)
        shared: dict[str, Any] = {"start": start, "categorical": self._categorical, "n_jobs": self._model.n_jobs}
        if (known == known[0]).all():  # CatBoost refuses to train on these
            return Member(booster=None, losses={}, best=None, **shared)
        stops = len(validation) > 0 and param.patience is not None
        booster = catboost.CatBoost(self._own(train, start, trees or param.n_estimators, stops=stops))
        held = self._rows(validation, start) if len(validation) else None
        booster.fit(self._rows(train, start), eval_set=held, callbacks=[report], verbose=False)
        if report.error:
            raise report.error
        losses = {name: next(iter(values.values())) for name, values in booster.get_evals_result().items()}
        named = {{"learn": "training rows"}.get(name, "validation rows"): values for name, values in losses.items()}
        return Member(booster=booster, losses=named, best=booster.tree_count_ if stops else None, **shared)

    def _rows(self, rows: Array, start: Array) -> Any:
        pool = rows_of(self._data[rows], self._categorical, self._target[rows])
        if self._classes <= 2:
            pool.set_baseline(np.full(len(rows), start[0]))
        else:
            pool.set_baseline(np.tile(start, (len(rows), 1)))
        return pool

    def _own(self, train: Array, start: Array, trees: int, *, stops: bool) -> dict[str, Any]:
        """CatBoost's own parameters."""
        param, model = self._param, self._model
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
            "loss_function": self._loss(self._target[train] - start[0]),
            **({"classes_count": self._classes} if self._classes > 2 else {}),
            **({} if stops else {"use_best_model": False}),
            **stop,
        }

    def _loss(self, residuals: Array) -> str:
        if self._classes:
            return "MultiClass" if self._classes > 2 else "Logloss"
        if self._param.loss is Loss.HUBER:
            return f"Huber:delta={float(np.quantile(np.abs(residuals), _HUBER_INLIERS)) or 1.0}"
        losses = {Loss.SQUARED_ERROR: "RMSE", Loss.ABSOLUTE_ERROR: "MAE"}
        return losses.get(self._param.loss, f"Quantile:alpha={self._param.quantile}")


def _history(members: Sequence[Member]) -> dict[str, Any] | None:
    """The losses of the first model; see ``Model.fit``."""
    more = f" (the first of {len(members)} models)" if len(members) > 1 else ""
    losses = {f"{name}{more}": list(values) for name, values in members[0].losses.items()}
    return {"step": "tree", "losses": losses, "best": members[0].best} if losses else None
