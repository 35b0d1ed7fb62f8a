"""The export of boosting on binned features to ONNX, from the trees that scikit-learn keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from when_ml_pipeline_meets_hydra.ml.models import double_graph, tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import Tree

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.linear_start import Line
    from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

Array = np.ndarray[Any, Any]
_WORD = 32  # bits


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert the mean of fitted models: prediction [N, 1], or probabilities [N, k]."""
    mean: Mean = estimator
    weighted = [(kind, kind.share / len(mean.members)) for member in mean.members for kind in member.kinds]
    base = np.sum([weight * kind.model._baseline_prediction.ravel() for kind, weight in weighted], axis=0)
    trees = [tree for kind, weight in weighted for tree in _Trees(kind.model, mean.columns, weight).all()]
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SIGMOID if len(base) == 1 else Link.SOFTMAX
    nodes, tensors = mean.columns.in_graph()
    further, constants = _lines([(kind.start, weight) for kind, weight in weighted if kind.start], n_features)
    everything = {**tensors, **constants}
    return tree_ensemble.to_graph(trees or [_nothing()], base, n_features, link, nodes, everything, further)


class _Trees:
    """The trees of one of several models, with its weight in their sum."""

    def __init__(self, boosted: Any, columns: Columns, weight: float) -> None:
        self._boosted, self._weight = boosted, weight
        places = columns.places
        groups = list(columns.groups)
        others = [k for k in range(len(columns)) if k not in columns.groups]
        # scikit-learn moves categorical columns to the front, and numbers the categories that it has seen.
        self._places = places[[*groups, *others]]
        self._known: list[Array] = []
        if groups:
            encoder = boosted._preprocessor.named_transformers_["encoder"]
            self._known = [np.asarray(codes, dtype=np.int64) for codes in encoder.categories_]
        self._unknown = [
            sorted(set(range(end - start + 1)) - set(known.tolist()))
            for (start, end), known in zip(columns.groups.values(), self._known, strict=True)
        ]

    def all(self) -> Iterator[Tree]:
        for of_stage in self._boosted._predictors:
            for k, predictor in enumerate(of_stage):
                yield self._tree(predictor.nodes, predictor.raw_left_cat_bitsets, k)

    def _tree(self, nodes: Array, bitsets: Array, target: int) -> Tree:
        is_leaf = nodes["is_leaf"].astype(bool)
        inner = ~is_leaf
        place = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(is_leaf) - 1))
        kept = nodes[inner]
        return Tree(
            feature=self._places[kept["feature_idx"]],
            threshold=kept["num_threshold"],
            left=place[kept["left"]],
            right=place[kept["right"]],
            leaves=nodes["value"][is_leaf] * self._weight,
            members=self._members(kept, bitsets),
            missing_left=kept["missing_go_to_left"].astype(bool),
            target=target,
        )

    def _members(self, nodes: Array, bitsets: Array) -> Mapping[int, Sequence[int]]:
        """The categories that go to the left at each node that splits by categories."""
        members = {}
        for k in np.flatnonzero(nodes["is_categorical"]).tolist():
            column = int(nodes["feature_idx"][k])
            bits = np.arange(len(self._known[column]))
            words = bitsets[nodes["bitset_idx"][k]][bits // _WORD]
            left = self._known[column][(words >> (bits % _WORD).astype(words.dtype)) & 1 == 1].tolist()
            members[k] = left + (self._unknown[column] if nodes["missing_go_to_left"][k] else [])
        return members


def _lines(weighted: Sequence[tuple[Line, float]], n_features: int) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes, and their constants, that add the weighted sum of linear functions to the scores."""
    if not weighted:
        return [], {}
    lines = [line for line, _ in weighted]
    nodes = [
        helper.make_node("MatMul", [double_graph.FEATURES, "coefficients"], ["products"]),
        helper.make_node("Add", ["products", "intercepts"], ["lines"]),
        helper.make_node("Min", ["lines", "highest"], ["lines below"]),
        helper.make_node("Max", ["lines below", "lowest"], ["lines within"]),
        helper.make_node("MatMul", ["lines within", "shares"], ["start"]),
    ]
    tensors = {
        "coefficients": np.column_stack([line.of_all(n_features) for line in lines]),
        "intercepts": np.array([line.intercept for line in lines]),
        "lowest": np.array([line.lowest for line in lines]),
        "highest": np.array([line.highest for line in lines]),
        "shares": np.array([[weight] for _, weight in weighted]),
    }
    return nodes, tensors


def _nothing() -> Tree:
    none = np.zeros(0, dtype=np.int64)
    return Tree(feature=none, threshold=none.astype(float), left=none, right=none, leaves=np.zeros(1))
