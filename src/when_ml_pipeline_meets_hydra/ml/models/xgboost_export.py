"""The export of XGBoost's models to ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from when_ml_pipeline_meets_hydra.ml.models import tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import Tree

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean

Array = np.ndarray[Any, Any]


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert the mean of fitted models: prediction [N, 1], or probabilities [N, k]."""
    mean: Mean = estimator
    base = np.mean([member.start for member in mean.members], axis=0)
    places = mean.columns.places
    trees = [tree for member in mean.members for tree in _trees(member, places, len(mean.members))]
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SIGMOID if len(base) == 1 else Link.SOFTMAX
    return tree_ensemble.to_graph(trees, base, n_features, link, *mean.columns.in_graph())


def _trees(member: Any, places: Array, models: int) -> Iterator[Tree]:
    for content, target in member.trees:
        yield _tree(content, places, target, models)


def _tree(content: Mapping[str, Any], places: Array, target: int, models: int) -> Tree:
    left, right = (np.asarray(content[name], dtype=np.int64) for name in ("left_children", "right_children"))
    is_leaf = left < 0
    inner = ~is_leaf
    place = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(is_leaf) - 1))
    conditions = np.asarray(content["split_conditions"], dtype=np.float32)
    members = {int(place[node]): codes for node, codes in _categories(content)}
    # Rows below a threshold go to the left, and those with one of a node's categories to the right.
    ends = np.where(np.isin(np.arange(len(left)), content["categories_nodes"]), right, left)
    others = np.where(ends == left, right, left)
    return Tree(
        feature=places[np.asarray(content["split_indices"], dtype=np.int64)[inner]],
        threshold=np.nextafter(conditions[inner], np.float32(-np.inf)).astype(np.float64),
        left=place[ends[inner]],
        right=place[others[inner]],
        leaves=conditions[is_leaf].astype(np.float64) / models,
        members=members,
        missing_left=np.asarray(content["default_left"], dtype=bool)[inner],
        target=target,
    )


def _categories(content: Mapping[str, Any]) -> Iterator[tuple[int, list[int]]]:
    """Yield each node that splits by categories, and those that go to the right."""
    columns = (content[f"categories_{name}"] for name in ("nodes", "segments", "sizes"))
    for node, start, size in zip(*columns, strict=True):
        yield node, content["categories"][start : start + size]
