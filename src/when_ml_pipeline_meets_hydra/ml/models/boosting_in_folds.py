"""Boosting with another library: a model for each fold of the rows, stopped by the rows that the fold holds out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from when_ml_pipeline_meets_hydra.contracts import Progress
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean, Part, mean_of
from when_ml_pipeline_meets_hydra.ml.training.param import Loss
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import LOG_LOSS, HeldOutLoss

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import FeatureRows
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns
    from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

Array = np.ndarray[Any, Any]
# Called with the number of trees that a fold's model has, and its loss on the rows held out (NaN: there are none).
Report = Callable[[int, float], None]


class _Param(Protocol):
    @property
    def loss(self) -> Loss: ...
    @property
    def n_estimators(self) -> int: ...
    @property
    def patience(self) -> int | None: ...
    @property
    def folds(self) -> int: ...
    @property
    def seed(self) -> int: ...


class _Model(Protocol):
    @property
    def n_jobs(self) -> int: ...


@dataclass(kw_only=True)
class FoldModel(ABC):
    """The model of a fold: ``start`` [K] plus its trees.

    ``losses`` has that of each number of trees, by the name of the rows; ``best`` is the number with the lowest one on
    the rows held out, None if there are none.
    """

    start: Array
    n_jobs: int
    losses: Mapping[str, Sequence[float]]
    best: int | None

    @abstractmethod
    def scores(self, columns: Array, features: Array) -> Array:
        """Return numbers or log-odds, [N, K], for merged ``columns`` [N, C] of ``features`` [N, F]."""


_FoldT = TypeVar("_FoldT", bound=FoldModel)


class Boosting(ABC, Generic[_FoldT]):
    """Trains on ``data`` [N, C], whose columns are ``columns``, for a ``target`` [N]: numbers, or K classes from 0.

    ``classes`` is K, or 0 for numbers. Rows count by their ``weights``, [N]; None: all the same.
    """

    def __init__(
        self,
        model: _Model,
        param: _Param,
        columns: Columns,
        data: Array,
        target: Array,
        classes: int,
        weights: Array | None,
    ) -> None:
        self.model, self.param, self.columns = model, param, columns
        self.data, self.target, self.classes, self.weights = data, target, classes, weights

    def weights_of(self, rows: Array) -> Array | None:
        """Return the weights of some rows; None: all the same."""
        return None if self.weights is None else self.weights[rows]

    @abstractmethod
    def train(self, train: Array, validation: Array, report: Report, trees: int) -> _FoldT:
        """Train on the rows ``train``, ``trees`` trees at most; stop early if there are rows in ``validation``."""

    def in_folds(self, parts: Sequence[Part], progress: Progress) -> list[_FoldT]:
        """Train the model of each fold."""
        most = self.param.n_estimators
        total, made = len(parts) * most, list[_FoldT]()
        for k, (train, validation) in enumerate(parts):
            made.append(self.train(train, validation, self._trees(progress, k * most, total), most))
            if k and made[0].best:
                self._scores(progress)((k + 1) * most, float(np.mean([self._best_loss(fold) for fold in made])))
        progress(total, total, "trees")
        return made

    def forward_in_time(self, newest: Part, progress: Progress) -> list[_FoldT]:
        """Train on all rows, as many trees as have the lowest loss on the newest ones."""
        most, everything = self.param.n_estimators, np.arange(len(self.target))
        first = self.train(*newest, self._trees(progress, 0, 2 * most), most)
        last = self.train(everything, everything[:0], self._trees(progress, most, 2 * most), first.best or most)
        progress(2 * most, 2 * most, "trees")
        return [replace(last, losses=first.losses, best=first.best)]

    def _trees(self, progress: Progress, before: int, total: int) -> Report:
        """Return what is called after each tree; its losses are partial scores while the first model is trained."""
        scores = self._scores(progress)

        def report(trees: int, loss: float) -> None:
            progress(before + trees, total, "trees")
            if not before and not math.isnan(loss):
                scores.after_tree(trees, self._mean_loss(loss))

        return report

    def _scores(self, progress: Progress) -> HeldOutLoss:
        return HeldOutLoss(progress, LOG_LOSS if self.classes else self.param.loss)

    def _best_loss(self, fold: FoldModel) -> float:
        values = fold.losses.get("validation rows", ())
        return self._mean_loss(min(values)) if values else math.nan

    def _mean_loss(self, value: float) -> float:
        """Return the mean loss of a value of the library, which has roots of the mean squared error."""
        return value**2 if not self.classes and self.param.loss is Loss.SQUARED_ERROR else value

    def parts(self, apart: KeptApart | None) -> Sequence[Part]:
        """Return the rows to train on and to validate on of each fold; without patience, all and none."""
        everything = np.arange(len(self.target))
        found: Sequence[Part] = ()
        if self.param.patience is not None and len(everything) > 1:
            is_classes = self.classes > 0
            found = inner_folds(self.target, self.param.folds, self.param.seed, is_classes=is_classes, apart=apart)
        return found or [(everything, everything[:0])]


def boost(
    library: type[Boosting[_FoldT]],
    model: _Model,
    task: Task,
    param: _Param,
    features: FeatureRows | Array,
    target: Array,
    columns: Columns,
    apart: KeptApart | None,
    progress: Progress,
    parts: Sequence[Part] | None = None,
    weights: Array | None = None,
) -> Mean:
    """Train a model in each fold; ``parts`` are those to use, if they are given."""
    classes = None
    if task is Task.CLASSIFICATION:
        classes, target = np.unique(target, return_inverse=True)
    data = columns.matrix(features)
    training = library(model, param, columns, data, target, 0 if classes is None else len(classes), weights)
    if apart and apart.in_time and param.patience and not parts:
        members = training.forward_in_time(training.parts(apart)[0], progress)
    else:
        members = training.in_folds(parts or training.parts(apart), progress)
    made = mean_of(members, columns, model.n_jobs, classes)
    made.history_ = _history(members)  # type: ignore[attr-defined]
    return made


def _history(members: Sequence[FoldModel]) -> dict[str, Any] | None:
    """The losses of the first model, None if it has no trees; see ``Model.fit``."""
    more = f" (the first of {len(members)} models)" if len(members) > 1 else ""
    losses = {f"{name}{more}": list(values) for name, values in members[0].losses.items()}
    return {"step": "tree", "losses": losses, "best": members[0].best} if losses else None
