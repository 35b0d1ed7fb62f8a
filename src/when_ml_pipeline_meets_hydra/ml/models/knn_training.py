"""Nearest neighbours: the rows that are kept, the choice of their number, and the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.models import double_graph
from when_ml_pipeline_meets_hydra.ml.models.double_graph import FEATURES, SCORES, Link
from when_ml_pipeline_meets_hydra.ml.training.param import Weights

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.knn import NeighboursParam

Array = np.ndarray[Any, Any]
_NUMBERS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 45, 70, 100)
_MOST_TRIED = 2000  # rows whose neighbours are looked up to choose their number
_CHUNK = 512  # rows
# Distances are sums of rounded numbers: within these, rows are as far as the last neighbour.
_NEAR, _TINY = 1e-9, 1e-9
_WIDER = 1.5  # the square of the kernel's width, in those of the last neighbour's distance
_PRIOR = 1.0  # neighbours that have the classes of all rows


@dataclass(frozen=True, kw_only=True)
class Space:
    """The features as coordinates: (x - ``center``) · ``scale`` of x clipped to ``lowest`` … ``highest``, all [F]."""

    lowest: Array
    highest: Array
    center: Array
    scale: Array

    @classmethod
    def of(cls, features: Array) -> Space:
        """Return that in which numbers have a standard deviation of 1; what is 0 or 1 stays."""
        is_number = ~np.isin(features, (0.0, 1.0)).all(axis=0)
        spread = features.std(axis=0)
        return cls(
            lowest=features.min(axis=0),
            highest=features.max(axis=0),
            center=features.mean(axis=0),
            scale=np.where(is_number & (spread > 0), 1 / np.where(spread > 0, spread, 1), 1.0),
        )

    def place(self, features: Array) -> Array:
        """Return the coordinates, float64 [N, F]."""
        clipped = np.clip(features.astype(np.float64), self.lowest, self.highest)
        placed: Array = (clipped - self.center) * self.scale
        return placed


class Fitted:
    """The kept rows: ``places`` [M, F], how many rows each stands for, ``counts`` [M], and ``values`` [M, K]."""

    def __init__(self, space: Space, places: Array, counts: Array, values: Array, prior: Array | None) -> None:
        self.space, self.places, self.counts, self.values, self.prior = space, places, counts, values, prior
        self.number, self.weights = 1, Weights.UNIFORM

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N]."""
        return self.means(features)[:, 0]

    def means(self, features: Array) -> Array:
        """Return the means of the neighbours' values, [N, K]."""
        places = self.space.place(features)
        parts = [self._means(self.distances(places[k : k + _CHUNK])) for k in range(0, len(places), _CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, self.values.shape[1]))

    def distances(self, places: Array) -> Array:
        """Return the squares of the distances, [N, M], from ``places`` [N, F]."""
        squares = (places**2).sum(axis=1)[:, None] + (self.places**2).sum(axis=1) - 2 * places @ self.places.T
        positive: Array = np.maximum(squares, 0, out=squares)
        return positive

    def _means(self, distances: Array) -> Array:
        last = np.partition(distances, self.number - 1, axis=1)[:, [self.number - 1]]
        return self.weighted(distances, last)

    def weighted(self, distances: Array, last: Array) -> Array:
        """Return the means, [N, K], for the squares of distances, [N, M], and those of the last neighbours, [N, 1]."""
        if self.weights is Weights.UNIFORM:
            kernel: Array = distances <= last * (1 + _NEAR) + _TINY
        else:
            kernel = np.maximum(1 - distances / (_WIDER * last + _TINY), 0)
        weights = kernel * self.counts
        sums, total = weights @ self.values, weights.sum(axis=1, keepdims=True)
        if self.prior is not None:
            sums, total = sums + _PRIOR * self.prior, total + _PRIOR
        means: Array = sums / total
        return means


class FittedClassifier(Fitted):
    """The kept rows of classes, whose indices are ``classes_``."""

    classes_: Array

    def predict(self, features: Array) -> Array:
        """Return the indices of the most frequent classes, [N]."""
        predicted: Array = self.classes_[self.means(features).argmax(axis=1)]
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the shares, [N, K], of ``classes_``."""
        return self.means(features)


def fit(task: Task, param: NeighboursParam, max_rows: int, features: Array, target: Array) -> Fitted:
    """Keep rows, and choose the number of neighbours; see ``Model.fit``."""
    space = Space.of(features.astype(np.float64))
    classes = np.unique(target) if task is Task.CLASSIFICATION else None
    values = target[:, None] if classes is None else (target[:, None] == classes).astype(np.float64)
    prior = None if classes is None else values.mean(axis=0)
    if len(target) > max_rows:
        kept = np.sort(np.random.default_rng(param.seed).choice(len(target), max_rows, replace=False))
        features, values = features[kept], values[kept]
    places, which, counts = np.unique(space.place(features), axis=0, return_inverse=True, return_counts=True)
    sums = np.zeros((len(places), values.shape[1]))
    np.add.at(sums, which.reshape(-1), values)
    made = (Fitted if classes is None else FittedClassifier)(space, places, counts, sums / counts[:, None], prior)
    if isinstance(made, FittedClassifier) and classes is not None:
        made.classes_ = classes
    made.weights = param.weights
    made.number = min(param.n_neighbors or _best_number(made, param.seed), len(places))
    return made


def _best_number(fitted: Fitted, seed: int) -> int:
    """The number of neighbours with which the rows are best predicted by all others."""
    rows = len(fitted.places)
    numbers = [number for number in _NUMBERS if number < rows]
    if not numbers:
        return 1
    tried = np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_TRIED])
    losses = np.zeros(len(numbers))
    for part in np.array_split(tried, -(-len(tried) // _CHUNK)):
        distances = fitted.distances(fitted.places[part])
        distances[np.arange(len(part)), part] = np.inf
        nearest = np.partition(distances, [n - 1 for n in numbers], axis=1)
        for k, number in enumerate(numbers):
            found = fitted.weighted(distances, nearest[:, [number - 1]])
            losses[k] += fitted.counts[part] @ _losses(found, fitted.values[part], is_classes=fitted.prior is not None)
    return numbers[int(np.argmin(losses))]


def _losses(found: Array, values: Array, *, is_classes: bool) -> Array:
    losses: Array = -(values * np.log(found)).sum(axis=1) if is_classes else ((found - values) ** 2).sum(axis=1)
    return losses


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a fitted model to ONNX: prediction [N, 1], or probabilities [N, k]."""
    fitted: Fitted = estimator
    space, transposed = fitted.space, np.ascontiguousarray(fitted.places.T)
    tensors = {
        **{"lowest": space.lowest, "highest": space.highest, "center": space.center, "scale": space.scale},
        **{"places": -2 * transposed, "squares": (fitted.places**2).sum(axis=1), "zero": np.zeros(1)},
        **{
            "axis": np.ones(1, dtype=np.int64),
            "number": np.array([fitted.number]),
            "at": np.array([fitted.number - 1]),
        },
        **{"near": np.array([1 + _NEAR]), "tiny": np.array([_TINY]), "wider": np.array([_WIDER]), "1": np.ones(1)},
        "values": fitted.counts[:, None] * fitted.values,
        "counts": fitted.counts[:, None].astype(np.float64),
        "prior": np.array([_PRIOR]),
    }
    if fitted.prior is not None:
        tensors["classes"] = _PRIOR * fitted.prior
    nodes = [*_distances(), *_weights(fitted.weights), *_means(has_prior=fitted.prior is not None)]
    return double_graph.model(nodes, tensors, n_features, Link.IDENTITY)


def _distances() -> Iterator[onnx.NodeProto]:
    yield _node("Min", [FEATURES, "highest"], "below")
    yield _node("Max", ["below", "lowest"], "within")
    yield _node("Sub", ["within", "center"], "centered")
    yield _node("Mul", ["centered", "scale"], "placed")
    yield _node("MatMul", ["placed", "places"], "products")
    yield _node("Mul", ["placed", "placed"], "squared")
    yield helper.make_node("ReduceSum", ["squared", "axis"], ["own squares"], keepdims=1)
    yield _node("Add", ["own squares", "squares"], "both squares")
    yield _node("Add", ["both squares", "products"], "differences")
    yield _node("Max", ["differences", "zero"], "distances")
    yield helper.make_node("TopK", ["distances", "number"], ["nearest", "which"], axis=1, largest=0, sorted=1)
    yield helper.make_node("Gather", ["nearest", "at"], ["last"], axis=1)


def _weights(weights: Weights) -> Iterator[onnx.NodeProto]:
    if weights is Weights.UNIFORM:
        yield _node("Mul", ["last", "near"], "a little further")
        yield _node("Add", ["a little further", "tiny"], "end")
        yield _node("LessOrEqual", ["distances", "end"], "is near")
        yield helper.make_node("Cast", ["is near"], ["weights"], to=onnx.TensorProto.DOUBLE)
        return
    yield _node("Mul", ["last", "wider"], "width")
    yield _node("Add", ["width", "tiny"], "end")
    yield _node("Div", ["distances", "end"], "parts")
    yield _node("Sub", ["1", "parts"], "signed")
    yield _node("Max", ["signed", "zero"], "weights")


def _means(*, has_prior: bool) -> Iterator[onnx.NodeProto]:
    yield _node("MatMul", ["weights", "values"], "sums")
    yield _node("MatMul", ["weights", "counts"], "total")
    if has_prior:
        yield _node("Add", ["sums", "classes"], "all sums")
        yield _node("Add", ["total", "prior"], "whole")
    yield _node("Div", ["all sums", "whole"] if has_prior else ["sums", "total"], SCORES)


def _node(operator: str, inputs: Sequence[str], output: str) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output])
