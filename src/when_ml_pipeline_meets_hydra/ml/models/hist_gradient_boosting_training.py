"""Training with scikit-learn's boosting on binned features, in folds of the rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models import linear_start
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.models.linear_start import Line
from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean, Part, mean_of
from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns
from when_ml_pipeline_meets_hydra.ml.training.param import HistLoss
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import LOG_LOSS, HeldOutLoss

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.hist_gradient_boosting import (
        HistGradientBoosting,
        HistGradientBoostingParam,
    )
    from when_ml_pipeline_meets_hydra.ml.models.interface import FeatureRows
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

Array = np.ndarray[Any, Any]
MOST_CATEGORIES = 254  # of a column, beside the code of unknown ones; a bin is a byte
# Up to a number of rows: the leaves of a tree, the rows of a leaf, and the folds.
_BY_ROWS = ((2000, 10, 8, 5), (10_000, 31, 15, 5), (50_000, 31, 15, 3), (500_000, 63, 20, 2), (math.inf, 127, 20, 1))
# Parts of the columns that are tried at a split: about so many, within these limits.
_TRIED, _FEWEST_TRIED, _MOST_TRIED = 12, 0.3, 0.8
_L2_OF_SEVERAL_CLASSES = 0.1  # a rare one would otherwise get unbounded log-odds
_FOLDS_OF_MANY_CLASSES, _TREES_OF_A_ROUND = 3, 20  # each round has a tree for each fold and class
_TOLERANCE = 1e-5  # of the loss, of numbers in units of twice their variance
# The most rows whose folds are all trained with both starts to compare them, and with both for the prediction.
_COMPARED_IN_ALL_FOLDS, _MIXED = 2000, 10_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What depends on the number of rows unless it is given."""

    num_leaves: int
    min_samples_leaf: int
    folds: int

    @classmethod
    def of(cls, rows: int, param: HistGradientBoostingParam) -> Settings:
        """Return the settings for a number of training rows."""
        _, leaves, rows_of_leaf, folds = next(size for size in _BY_ROWS if rows < size[0])
        return cls(
            num_leaves=param.num_leaves or leaves,
            min_samples_leaf=param.min_samples_leaf or max(1, min(rows_of_leaf, rows // 10)),
            folds=min(param.folds or folds, rows),
        )


@dataclass(frozen=True, kw_only=True)
class Boosted:
    """The trees of scikit-learn's ``model``, which correct ``start`` (None: a constant); ``share``: of a member."""

    model: Any
    start: Line | None
    share: float = 1.0

    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K]."""
        if hasattr(self.model, "classes_"):
            scores: Array = self.model.decision_function(columns)
            return scores.reshape(len(columns), -1)
        start = self.start.predict(features) if self.start else 0.0
        return np.reshape(self.model.predict(columns) + start, (-1, 1))


@dataclass(frozen=True, kw_only=True)
class Member:
    """The model of a fold: the weighted mean of ``kinds``."""

    kinds: Sequence[Boosted]

    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K]."""
        scores: Array = np.sum([kind.share * kind.scores(columns, features) for kind in self.kinds], axis=0)
        return scores


def boost(
    model: HistGradientBoosting,
    task: Task,
    param: HistGradientBoostingParam,
    features: FeatureRows | Array,
    target: Array,
    columns: Columns,
    apart: KeptApart | None,
    progress: Progress,
    parts: Sequence[Part] | None = None,
    rare: Collection[int] = (),
    weights: Array | None = None,
) -> Mean:
    """Train a model in each fold; ``parts`` are those to use, if they are given."""
    classes = None
    if task is Task.CLASSIFICATION:
        classes, target = np.unique(target, return_inverse=True)
    training = _Training(model, param, columns, target, apart, classes is not None, parts, weights)
    training.columns = columns.matrix(features)
    training.read(features, rare)
    with threadpool_limits(model.n_jobs):
        members = list(training.members(progress))
    made = mean_of(members, columns, model.n_jobs, classes)
    made.history_ = training.history(len(members))  # type: ignore[attr-defined]
    return made


class _Training:
    def __init__(
        self,
        model: HistGradientBoosting,
        param: HistGradientBoostingParam,
        columns: Columns,
        target: Array,
        apart: KeptApart | None,
        is_classifier: bool,
        given: Sequence[Part] | None,
        weights: Array | None,
    ) -> None:
        self._model, self._param, self._target, self._is_classifier = model, param, target, is_classifier
        self._apart, self._given = apart, given
        self._first: Any = None
        self._weights = weights
        self._held: dict[bool, list[tuple[float, float]]] = {False: [], True: []}  # by start: sum of losses, and rows
        self._settings = Settings.of(len(target), param)
        self._categories = list(columns.groups) or None
        # With more of it the log-odds of classes that can be told apart would hardly grow any more.
        usual = 1.0 if not is_classifier else 0.0 if target.max() < 2 else _L2_OF_SEVERAL_CLASSES
        self._l2 = usual if param.l2 is None else param.l2
        self._max_features = model.max_features or min(_MOST_TRIED, max(_FEWEST_TRIED, _TRIED / len(columns)))
        self.columns: Array = np.empty((0, 0))
        self.features: Array = np.empty((len(target), 0))
        self._places: Array = np.arange(0)
        self.may_be_linear = False

    def read(self, features: FeatureRows | Array, rare: Collection[int]) -> None:
        """Read the features, [N, F], that a linear start is fitted to, if it may be one."""
        (rows, width), start = features.shape, self._model.start
        if self._is_classifier or self._param.loss is not HistLoss.SQUARED_ERROR or start == "constant":
            return
        places = np.arange(width) if start == "linear" else linear_start.places(rows, width, rare)
        if places is not None:
            self.may_be_linear, self._places = True, places
            given = (features,) if isinstance(features, np.ndarray) else features.batches()
            self.features = np.concatenate([batch[:, self._places].astype(np.float64) for batch in given])

    def history(self, models: int) -> dict[str, Any] | None:
        """The losses of the model that was trained first, None without a tree; see ``Model.fit``."""
        losses = {"training rows": self._first.train_score_, "validation rows": self._first.validation_score_}
        more = f" (the first of {models} models)" if models > 1 else ""
        named = {f"{name}{more}": (-values[1:]).tolist() for name, values in losses.items() if len(values) > 1}
        best = max(1, self._first.n_iter_) if len(named) > 1 else None
        return {"step": "tree", "losses": named, "best": best} if named else None

    def members(self, progress: Progress) -> Iterator[Member]:
        """Train the model of each fold, with the better start, or both."""
        if self._apart and self._apart.in_time and self._param.patience and not self._given:
            yield from self._forward_in_time(progress)
            return
        parts = self._given or self._parts(self._apart)
        compared = len(parts) if len(self._target) <= _COMPARED_IN_ALL_FOLDS else 1
        tried = self._tried(parts[:compared], len(parts) + compared, progress)
        wanted = self._shares(tried, parts[:compared])
        before, more = 2 * len(tried), len(parts) - len(tried)
        for k, part in enumerate(parts):
            kinds = tried[k] if k < len(tried) else {linear: self._boosted(*part, linear=linear) for linear in wanted}
            yield _member(kinds, wanted)
            if k >= len(tried):
                self._report(progress)
            done = max(0, k + 1 - len(tried))
            progress(before + done * len(wanted), before + more * len(wanted), "models")

    def _tried(self, parts: Sequence[Part], total: int, progress: Progress) -> list[dict[bool, Boosted]]:
        """Train with both starts in each of ``parts``, if there is a choice; False: the constant, True: the line."""
        if not (self.may_be_linear and self._model.start == "auto" and all(len(rows) for _, rows in parts)):
            return []
        tried: list[dict[bool, Boosted]] = []
        for done, part in enumerate(parts):
            tried.append({})
            for linear in (False, True):
                tried[-1][linear] = self._boosted(*part, linear=linear)
                progress(2 * done + linear + 1, total, "models")
            self._report(progress)
        return tried

    def _shares(self, tried: Sequence[Mapping[bool, Boosted]], parts: Sequence[Part]) -> dict[bool, float]:
        """The share of each start that has one, by the held-out rows of ``parts``."""
        if not tried:
            return {self.may_be_linear and self._model.start == "linear": 1.0}
        made: dict[bool, list[Array]] = {False: [], True: []}
        for kinds, (_, rows) in zip(tried, parts, strict=True):
            for linear, kind in kinds.items():
                start = kind.start.values(self.features[rows]) if kind.start else 0.0
                made[linear].append(kind.model.predict(self.columns[rows]) + start)
        target = np.concatenate([self._target[rows] for _, rows in parts])
        weights = self._weights_of(np.concatenate([rows for _, rows in parts]))
        found = linear_start.shares(target, np.concatenate(made[False]), np.concatenate(made[True]), weights)
        return found if len(self._target) <= _MIXED else {found.get(True, 0.0) >= 1 / 2: 1.0}

    def _forward_in_time(self, progress: Progress) -> Iterator[Member]:
        """Choose the start and the number of trees by the newest rows, then train on all rows, in folds at random."""
        newest, everything = self._parts(self._apart)[:1], np.arange(len(self._target))
        parts = self._parts(None) if self._settings.folds > 1 else [(everything, everything[:0])]
        tried = self._tried(newest, 2 + 2 * len(parts), progress)
        wanted = self._shares(tried, newest)
        first = tried[0] if tried else {linear: self._boosted(*newest[0], linear=linear) for linear in wanted}
        if not tried:
            self._report(progress)
        trees = {linear: kind.model.n_iter_ for linear, kind in first.items()}
        for done, (train, _) in enumerate(parts, 1):
            kinds = {linear: self._boosted(train, train[:0], linear=linear, trees=trees[linear]) for linear in wanted}
            yield _member(kinds, wanted)
            progress(len(first) + done * len(wanted), len(first) + len(parts) * len(wanted), "models")

    def _report(self, progress: Progress) -> None:
        """Report the mean loss on the rows held out in the folds so far, with the better of the starts."""
        step = max(map(len, self._held.values()))
        if step:
            sums = [np.sum(losses, axis=0) for losses in self._held.values() if len(losses) == step]
            scale = 2 if not self._is_classifier and self._param.loss is HistLoss.SQUARED_ERROR else 1
            scores = HeldOutLoss(progress, LOG_LOSS if self._is_classifier else self._param.loss)
            scores(step, float(min(scale * loss / rows for loss, rows in sums)))

    def _parts(self, apart: KeptApart | None) -> list[tuple[Array, Array]]:
        """The rows to train on and to validate on of each fold; without patience, all and none."""
        rows, number = len(self._target), self._settings.folds
        if self._is_classifier and self._param.folds is None:
            number = min(number, max(_FOLDS_OF_MANY_CLASSES, _TREES_OF_A_ROUND // (1 + int(self._target.max()))))
        everything = np.arange(rows)
        if self._param.patience is None or rows < 2:
            return [(everything, everything[:0])]
        seed, is_classes = self._param.seed, self._is_classifier
        found = inner_folds(self._target, number, seed, is_classes=is_classes, apart=apart)
        return found or [(everything, everything[:0])]  # each class has a single row

    def _boosted(self, train: Array, validation: Array, *, linear: bool, trees: int | None = None) -> Boosted:
        target, start = self._target, None
        if linear:
            start = Line.of(self.features[train], target[train], self._places, self._weights_of(train))
            target = target - start.values(self.features)
        stops = len(validation) > 0
        trees = self._param.n_estimators if trees is None else trees
        boosted = self._boosting(max(1, trees), stops=stops)
        held: dict[str, Any] = {}
        if stops:
            held = {"X_val": self.columns[validation], "y_val": target[validation]}
            held["sample_weight_val"] = self._weights_of(validation)
        boosted.fit(self.columns[train], target[train], sample_weight=self._weights_of(train), **held)
        self._first = self._first or boosted
        best = int(np.argmin(-boosted.validation_score_)) if stops else trees
        if stops:
            rows = len(validation) if self._weights is None else float(self._weights[validation].sum())
            self._held[linear].append((-float(boosted.validation_score_[best]) * rows, rows))
        boosted._predictors = boosted._predictors[:best]  # it keeps the trees after the best one
        return Boosted(model=boosted, start=start)

    def _weights_of(self, rows: Array) -> Array | None:
        return None if self._weights is None else self._weights[rows]

    def _boosting(self, trees: int, *, stops: bool) -> Any:
        param, settings = self._param, self._settings
        shared = {
            "learning_rate": param.learning_rate,
            "max_iter": trees,
            "max_leaf_nodes": settings.num_leaves,
            "max_depth": param.max_depth,
            "min_samples_leaf": settings.min_samples_leaf,
            "l2_regularization": self._l2,
            "max_features": self._max_features,
            "categorical_features": self._categories,
            "early_stopping": True,  # otherwise it keeps no losses
            "validation_fraction": None,
            "n_iter_no_change": param.patience if stops and param.patience else trees + 1,
            "scoring": "loss",
            "tol": _TOLERANCE,
            "random_state": param.seed,
        }
        if self._is_classifier:
            return HistGradientBoostingClassifier(**shared)
        quantile = {"quantile": param.quantile} if param.loss is HistLoss.QUANTILE else {}
        return HistGradientBoostingRegressor(**shared, loss=param.loss.value, **quantile)


def _member(kinds: Mapping[bool, Boosted], wanted: Mapping[bool, float]) -> Member:
    return Member(kinds=[replace(kinds[linear], share=share) for linear, share in wanted.items()])
