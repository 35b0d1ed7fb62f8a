"""The training of linear models: splines and regularisation are chosen on held-out parts of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper
from sklearn.linear_model import HuberRegressor, LogisticRegression, QuantileRegressor, Ridge
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models import double_graph
from when_ml_pipeline_meets_hydra.ml.models.double_graph import FEATURES, Link
from when_ml_pipeline_meets_hydra.ml.models.inner_folds import inner_folds
from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart
from when_ml_pipeline_meets_hydra.ml.training.param import Loss

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.linear import LinearParam

Array = np.ndarray[Any, Any]
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
_USUAL = 1.0
_FOLDS, _MOST_ROWS_IN_FOLDS = 5, 20_000  # of more rows, one part is held out
_FEWEST_VALUES = 8  # of a number that gets a spline
_MOST_VALUES = 20_000_000  # of a matrix with splines
_BETTER = 0.995  # part of the loss without splines that those need to be below


@dataclass(frozen=True, kw_only=True)
class Splines:
    """Further features: for each of ``places`` [B], the part of that feature above ``knots`` [B]; none if B is 0."""

    places: Array
    knots: Array

    @classmethod
    def none(cls) -> Splines:
        """Return no further features."""
        return cls(places=np.zeros(0, dtype=np.int64), knots=np.zeros(0))

    @classmethod
    def of(cls, features: Array, number: int) -> Splines:
        """Place up to ``number`` knots of each number at its quantiles."""
        shares = np.linspace(0, 1, number + 2)[1:-1]
        places, knots = [], []
        for k, values in enumerate(features.T):
            if len(np.unique(values[:10_000])) >= _FEWEST_VALUES:
                inner = np.unique(np.quantile(values, shares))
                inner = inner[(inner > values.min()) & (inner < values.max())]
                places += [k] * len(inner)
                knots += inner.tolist()
        return cls(places=np.array(places, dtype=np.int64), knots=np.array(knots, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.places)

    def of_rows(self, features: Array) -> Array:
        """Return the features, float64 [N, F], and the further ones: [N, F + B]."""
        if not len(self):
            return features
        return np.hstack((features, np.maximum(features[:, self.places] - self.knots, 0)))


class Fitted:
    """A linear model of features and splines that predicts numbers."""

    def __init__(self, estimator: Any, splines: Splines) -> None:
        self.estimator, self.splines = estimator, splines

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N]."""
        predicted: Array = self.estimator.predict(self.splines.of_rows(features.astype(np.float64)))
        return predicted


class FittedClassifier(Fitted):
    """A linear model of features and splines that predicts classes; ``classes_`` are their indices."""

    def __init__(self, estimator: Any, splines: Splines) -> None:
        super().__init__(estimator, splines)
        self.classes_ = estimator.classes_

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        predicted: Array = self.estimator.predict_proba(self.splines.of_rows(features.astype(np.float64)))
        return predicted


def fit(
    task: Task,
    param: LinearParam,
    max_iter: int,
    features: Array,
    target: Array,
    apart: KeptApart | None = None,
    weights: Array | None = None,
) -> Fitted:
    """Fit a linear model on one processor core; see ``Model.fit``."""
    # In 32-bit floats, the solvers lose digits that features of unequal size need.
    training = _Training(task, param, max_iter, features.astype(np.float64), target, apart, weights)
    with threadpool_limits(1):  # for the small matrices of its many fits, further threads of BLAS only wait
        splines, strength = training.choice()
        estimator = training.fitted(np.arange(len(target)), splines, strength)
    return FittedClassifier(estimator, splines) if task is Task.CLASSIFICATION else Fitted(estimator, splines)


class _Training:
    def __init__(
        self,
        task: Task,
        param: LinearParam,
        max_iter: int,
        features: Array,
        target: Array,
        apart: KeptApart | None,
        weights: Array | None,
    ) -> None:
        self._is_classifier = task is Task.CLASSIFICATION
        self._param, self._max_iter, self._features, self._target = param, max_iter, features, target
        self._apart, self._weights = apart, weights

    def choice(self) -> tuple[Splines, float]:
        """Return the splines and the regularisation with the lowest loss on held-out rows."""
        is_chosen = self._is_classifier or self._param.loss is Loss.SQUARED_ERROR
        if not is_chosen or len(self._target) < 2 * _FOLDS:
            return Splines.none(), self._param.alpha or _USUAL
        strengths = (self._param.alpha,) if self._param.alpha else _STRENGTHS
        candidates = [Splines.none(), *self._splines()]
        if len(candidates) * len(strengths) == 1:
            return candidates[0], strengths[0]
        number = _FOLDS if len(self._target) <= _MOST_ROWS_IN_FOLDS else 1
        is_classes = self._is_classifier
        parts = inner_folds(self._target, number, self._param.seed, is_classes=is_classes, apart=self._apart)
        if not parts:  # each class has a single row
            return Splines.none(), self._param.alpha or _USUAL
        losses = [[sum(self._loss(*part, splines, a) for part in parts) for a in strengths] for splines in candidates]
        best = 0
        if len(candidates) > 1 and min(losses[1]) < _BETTER * min(losses[0]):
            best = 1
        return candidates[best], strengths[int(np.argmin(losses[best]))]

    def _splines(self) -> Iterator[Splines]:
        if self._param.knots:
            splines = Splines.of(self._features, self._param.knots)
            if len(splines) and len(self._target) * (self._features.shape[1] + len(splines)) <= _MOST_VALUES:
                yield splines

    def _loss(self, train: Array, validation: Array, splines: Splines, strength: float) -> float:
        estimator = self.fitted(train, splines, strength)
        rows, target = splines.of_rows(self._features[validation]), self._target[validation]
        weights = np.ones(len(target)) if self._weights is None else self._weights[validation]
        if self._is_classifier:
            likely = estimator.predict_proba(rows)
            mean = log_loss(target, likely, labels=estimator.classes_, sample_weight=weights)
            return float(mean * weights.sum())
        return float(np.sum(weights * (estimator.predict(rows) - target) ** 2))

    def fitted(self, rows: Array, splines: Splines, strength: float) -> Any:
        """Return scikit-learn's estimator, fitted to some of the rows."""
        estimator = self._estimator(strength, len(rows))
        weights = None if self._weights is None else self._weights[rows]
        return estimator.fit(splines.of_rows(self._features[rows]), self._target[rows], sample_weight=weights)

    def _estimator(self, strength: float, rows: int) -> Any:
        param = self._param
        if self._is_classifier:
            return LogisticRegression(C=1 / strength, max_iter=self._max_iter, random_state=param.seed)
        if param.loss is Loss.SQUARED_ERROR:
            return Ridge(alpha=strength, random_state=param.seed)
        if param.loss is Loss.HUBER:
            return HuberRegressor(alpha=strength, max_iter=self._max_iter)
        quantile = param.quantile if param.loss is Loss.QUANTILE else 0.5
        # Its loss is a mean over the rows, that of the others a sum; dividing gives alpha the same meaning in all.
        return QuantileRegressor(quantile=quantile, alpha=strength / rows)


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a fitted model to ONNX: prediction [N, 1], or probabilities [N, k]."""
    inner, splines = estimator.estimator, estimator.splines
    coefficients = np.atleast_2d(inner.coef_).T
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SOFTMAX if coefficients.shape[1] > 1 else Link.SIGMOID
    return double_graph.linear(coefficients, np.ravel(inner.intercept_), n_features, link, *_in_graph(splines))


def _in_graph(splines: Splines) -> tuple[Sequence[onnx.NodeProto], dict[str, Array]]:
    """The nodes, and their constants, that compute ``columns``: the features, and the splines."""
    if not len(splines):
        return (), {}
    nodes = [
        helper.make_node("Gather", [FEATURES, "places"], ["bent"], axis=1),
        helper.make_node("Sub", ["bent", "knots"], ["above"]),
        helper.make_node("Max", ["above", "zero"], ["splines"]),
        helper.make_node("Concat", [FEATURES, "splines"], [double_graph.COLUMNS], axis=1),
    ]
    return nodes, {"places": splines.places, "knots": splines.knots, "zero": np.zeros(1)}
