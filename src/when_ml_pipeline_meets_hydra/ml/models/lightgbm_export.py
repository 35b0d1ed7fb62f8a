"""The export of LightGBM's models to ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from when_ml_pipeline_meets_hydra.ml.models import tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import Tree

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array
    from when_ml_pipeline_meets_hydra.ml.models.merged_columns import Columns

_TREE = re.compile(r"^Tree=\d+\n((?:.+\n)*)", re.MULTILINE)
# Bits of LightGBM's decision type: a split by a set of categories, and where missing numbers go, if they are known.
_CATEGORICAL, _MISSING_LEFT, _MISSING_KNOWN = 1, 2, 8


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a fitted regressor or classifier: prediction [N, 1], or probabilities [N, k]."""
    booster, columns = estimator.booster_, estimator.columns
    targets = booster.num_model_per_iteration()
    trees = list(_trees(booster.model_to_string(), columns, targets))
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SIGMOID if targets == 1 else Link.SOFTMAX
    return tree_ensemble.to_graph(trees, np.zeros(targets), n_features, link, *columns.in_graph())


def _trees(text: str, columns: Columns, targets: int) -> Iterator[Tree]:
    places = columns.places
    for number, block in enumerate(_TREE.findall(text)):
        fields = dict(line.split("=", 1) for line in block.splitlines())
        yield _tree(fields, places, number % targets)


def _tree(fields: Mapping[str, str], places: Array, target: int) -> Tree:
    def numbers(name: str, kind: type = int) -> Array:
        return np.array(fields.get(name, "").split(), dtype=kind)

    ends, bitmap, threshold = numbers("cat_boundaries"), numbers("cat_threshold"), numbers("threshold", float)
    members, kinds = {}, numbers("decision_type")
    for node in np.flatnonzero(kinds & _CATEGORICAL).tolist():
        at = int(threshold[node])
        members[node] = _members(bitmap[ends[at] : ends[at + 1]])
    return Tree(
        feature=places[numbers("split_feature")],
        threshold=threshold,
        left=numbers("left_child"),
        right=numbers("right_child"),
        leaves=numbers("leaf_value", float),
        members=members,
        # Without missing values in the training rows, one is 0.
        missing_left=np.where(kinds & _MISSING_KNOWN, kinds & _MISSING_LEFT, threshold >= 0).astype(bool),
        target=target,
    )


def _members(words: Array) -> list[int]:
    return [32 * k + bit for k, word in enumerate(words.tolist()) for bit in range(32) if word >> bit & 1]
