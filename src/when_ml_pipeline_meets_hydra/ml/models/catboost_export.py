"""The export of CatBoost's models to ONNX."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from when_ml_pipeline_meets_hydra.ml.models import tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.catboost_training import rows_of
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import Tree

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.mean_of_folds import Mean

Array = np.ndarray[Any, Any]
_NO_CODE = -1  # of any category, for a set that would otherwise be empty


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert the mean of fitted models: prediction [N, 1], or probabilities [N, k]."""
    mean: Mean = estimator
    models = len(mean.members)
    base = np.mean([member.start for member in mean.members], axis=0)
    trees: list[Tree] = []
    for member in mean.members:
        if member.booster is not None:
            trees += _Trees(member, mean.columns, models).all()
            base = base + _bias(member.booster, len(base)) / models
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SIGMOID if len(base) == 1 else Link.SOFTMAX
    return tree_ensemble.to_graph(trees or [_nothing()], base, n_features, link, *mean.columns.in_graph())


def _bias(booster: Any, width: int) -> Array:
    _, bias = booster.get_scale_and_bias()
    return np.broadcast_to(np.ravel(np.asarray(bias, dtype=np.float64)), width)


class _Trees:
    """The trees of one of several models whose mean is predicted.

    All nodes of a level of CatBoost's trees have the same split, and the number of a leaf has a bit for each level. So
    what a split says of each category is read from the leaves of rows that differ in that category alone.
    """

    def __init__(self, member: Any, columns: Any, models: int) -> None:
        self._places, self._models = columns.places, models
        categorical = set(member.categorical)
        self._numeric = [k for k in range(len(columns)) if k not in categorical]
        self._content = _content(member.booster)
        self._scale, _ = member.booster.get_scale_and_bias()
        self._width = len(member.start)
        self._leaves = {}
        for k, (start, end) in columns.groups.items():
            rows = np.zeros((end - start + 1, len(columns)), dtype=np.float32)
            rows[:, k] = np.arange(len(rows))
            self._leaves[k] = member.booster.calc_leaf_indexes(rows_of(rows, member.categorical))

    def all(self) -> Iterator[Tree]:
        """Yield the trees, one for each class."""
        for number, content in enumerate(self._content):
            yield from self._tree(number, content)

    def _tree(self, number: int, content: Mapping[str, Any]) -> Iterator[Tree]:
        splits: Sequence[Mapping[str, Any]] = content["splits"] or ()
        depth = len(splits)
        values = np.asarray(content["leaf_values"], dtype=np.float64).reshape(1 << depth, self._width)
        feature, threshold, left, right = (np.zeros((1 << depth) - 1, dtype=np.int64) for _ in range(4))
        threshold = threshold.astype(np.float64)
        members: dict[int, Sequence[int]] = {}
        for level, split in enumerate(splits):
            nodes = np.arange((1 << level) - 1, (1 << level + 1) - 1)
            paths = np.arange(1 << level)
            ends = [self._ends(paths | bit << level, level + 1, depth) for bit in (0, 1)]
            if split["split_type"] == "FloatFeature":
                feature[nodes] = self._places[self._numeric[split["float_feature_index"]]]
                threshold[nodes], (left[nodes], right[nodes]) = np.float32(split["border"]), ends
            else:
                column, codes = self._categories(number, level)
                feature[nodes], (right[nodes], left[nodes]) = self._places[column], ends
                members |= dict.fromkeys(nodes.tolist(), codes)
        for k in range(self._width):
            leaves = values[:, k] * self._scale / self._models
            yield Tree(
                feature=feature,
                threshold=threshold,
                left=left,
                right=right,
                leaves=leaves,
                members=members,
                missing_left=np.ones(len(feature), dtype=bool),
                target=k,
            )

    def _ends(self, paths: Array, level: int, depth: int) -> Array:
        """The nodes, or leaves, behind the bits of ``paths``."""
        return ~paths if level == depth else paths + (1 << level) - 1

    def _categories(self, number: int, level: int) -> tuple[int, list[int]]:
        """The column by which a level splits, and its codes for which the bit is 1."""
        bits = {k: found[:, number] >> level & 1 for k, found in self._leaves.items()}
        column = next((k for k, found in bits.items() if found.min() < found.max()), next(iter(bits)))
        return column, np.flatnonzero(bits[column]).tolist() or [_NO_CODE]


def _content(booster: Any) -> Sequence[Mapping[str, Any]]:
    """The trees as CatBoost writes them."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"
        booster.save_model(str(file), format="json")
        content: Sequence[Mapping[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["oblivious_trees"]
    return content


def _nothing() -> Tree:
    none = np.zeros(0, dtype=np.int64)
    return Tree(feature=none, threshold=none.astype(float), left=none, right=none, leaves=np.zeros(1))
