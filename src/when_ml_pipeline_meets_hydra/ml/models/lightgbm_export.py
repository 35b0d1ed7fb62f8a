"""The export of LightGBM's models to ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from when_ml_pipeline_meets_hydra.ml.models import double_graph, tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import COLUMNS, Tree

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array
    from when_ml_pipeline_meets_hydra.ml.models.lightgbm_training import Columns

_TREE = re.compile(r"^Tree=\d+\n((?:.+\n)*)", re.MULTILINE)
_CATEGORICAL = 1  # the bit of a split by a set of categories in LightGBM's decision type


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a fitted regressor or classifier: prediction [N, 1], or probabilities [N, k]."""
    booster, columns = estimator.booster_, estimator.columns
    targets = booster.num_model_per_iteration()
    trees = list(_trees(booster.model_to_string(), columns, targets))
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SIGMOID if targets == 1 else Link.SOFTMAX
    return tree_ensemble.to_graph(trees, np.zeros(targets), n_features, link, *_merged(columns))


def _trees(text: str, columns: Columns, targets: int) -> Iterator[Tree]:
    place = {source: k for k, source in enumerate([*_alone(columns), *columns.groups.values()])}
    places = np.array([place[source] for source in columns.sources], dtype=np.int64)
    for number, block in enumerate(_TREE.findall(text)):
        fields = dict(line.split("=", 1) for line in block.splitlines())
        yield _tree(fields, places, number % targets)


def _tree(fields: Mapping[str, str], places: Array, target: int) -> Tree:
    def numbers(name: str, kind: type = int) -> Array:
        return np.array(fields.get(name, "").split(), dtype=kind)

    ends, bitmap, threshold = numbers("cat_boundaries"), numbers("cat_threshold"), numbers("threshold", float)
    members = {}
    for node in np.flatnonzero(numbers("decision_type") & _CATEGORICAL).tolist():
        at = int(threshold[node])
        members[node] = _members(bitmap[ends[at] : ends[at + 1]])
    return Tree(
        feature=places[numbers("split_feature")],
        threshold=threshold,
        left=numbers("left_child"),
        right=numbers("right_child"),
        leaves=numbers("leaf_value", float),
        members=members,
        target=target,
    )


def _members(words: Array) -> list[int]:
    return [32 * k + bit for k, word in enumerate(words.tolist()) for bit in range(32) if word >> bit & 1]


def _alone(columns: Columns) -> list[int]:
    return [source for source in columns.sources if isinstance(source, int)]


def _merged(columns: Columns) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes, and their constants, that merge the features of each group into a column; other columns first."""
    if not columns.groups:
        return [], {}
    grouped = [k for group in columns.groups.values() for k in range(*group)]
    codes, start = np.zeros((len(grouped), len(columns.groups))), 0
    for k, (first, end) in enumerate(columns.groups.values()):
        codes[start : start + end - first, k] = np.arange(1, end - first + 1)
        start += end - first
    alone = _alone(columns)
    nodes = [
        helper.make_node("Gather", [double_graph.FEATURES, "grouped"], ["in groups"], axis=1),
        helper.make_node("MatMul", ["in groups", "codes"], ["merged" if alone else COLUMNS]),
    ]
    tensors = {"grouped": np.array(grouped, dtype=np.int64), "codes": codes}
    if alone:
        nodes.append(helper.make_node("Gather", [double_graph.FEATURES, "alone"], ["not in groups"], axis=1))
        nodes.append(helper.make_node("Concat", ["not in groups", "merged"], [COLUMNS], axis=1))
        tensors["alone"] = np.array(alone, dtype=np.int64)
    return nodes, tensors
