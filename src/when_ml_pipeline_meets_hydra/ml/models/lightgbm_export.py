"""The export of LightGBM's models to ONNX."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Array
    from when_ml_pipeline_meets_hydra.ml.models.lightgbm_training import Columns

_TREE = re.compile(r"^Tree=.*\n(?:.+\n)*", re.MULTILINE)
# The sizes of the trees in bytes are an optional index, which is wrong after a tree is rewritten.
_TREE_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_NUMERICAL = "0"  # LightGBM's decision type of a split by a threshold


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """Convert a fitted regressor or classifier: prediction [N, 1], or probabilities [N, k] as the last output.

    Trees in ONNX have no splits by a set of categories. The sum of the one-hot features of a set is a further feature,
    computed before the trees, by whose threshold they split instead.
    """
    trees = _Trees(estimator.columns, n_features)
    text = _TREE.sub(trees.rewritten, _TREE_SIZES.sub("", estimator.booster_.model_to_string()))
    width = n_features + len(trees.sums)
    for name, values in {
        "max_feature_idx": [str(width - 1)],
        "feature_names": [f"Column_{k}" for k in range(width)],
        "feature_infos": ["none"] * width,
    }.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={' '.join(values)}", text, count=1, flags=re.MULTILINE)
    shape = [("columns", FloatTensorType([None, width]))]
    model: onnx.ModelProto = convert_lightgbm(lightgbm.Booster(model_str=text), initial_types=shape, zipmap=False)
    _insert_sums(model.graph, trees.matrix(), n_features)
    return model


class _Trees:
    """Trees that split by F features and ``sums`` of them: sign and features of each sum → its index."""

    def __init__(self, columns: Columns, n_features: int) -> None:
        self._columns, self._n_features = columns, n_features
        self.sums: dict[tuple[float, tuple[int, ...]], int] = {}

    def rewritten(self, tree: re.Match[str]) -> str:
        """Return the text of a tree without categories.

        The exporter rounds thresholds to the nearest 32-bit float, which sends rows that are equal to the rounded
        threshold into the wrong branch. Rounded down, a threshold splits all 32-bit numbers like the 64-bit one.
        """
        fields = dict(line.split("=", 1) for line in tree[0].splitlines())
        ends, bitmap = ([int(x) for x in fields.pop(name, "").split()] for name in ("cat_boundaries", "cat_threshold"))
        names = ("split_feature", "threshold", "decision_type")
        nodes = []
        for column, threshold, decision in zip(*(fields[name].split() for name in names), strict=True):
            source = self._columns.sources[int(column)]
            if isinstance(source, int):
                nodes.append((source, _rounded_down(float(threshold)), decision))
            else:
                at = int(threshold)
                nodes.append((*self._sum(*source, _members(bitmap[ends[at] : ends[at + 1]])), _NUMERICAL))
        for name, values in zip(names, zip(*nodes, strict=True), strict=False):
            fields[name] = " ".join(map(str, values))
        return "".join(f"{name}={value}\n" for name, value in {**fields, "num_cat": 0}.items())

    def _sum(self, start: int, end: int, members: set[int]) -> tuple[int, float]:
        """The feature and the threshold whose split is that by the categories ``members`` of a group."""
        # Category 0 (no feature is 1) has no feature: if it is a member, the sum is that of the other categories.
        sign = 1.0 if 0 in members else -1.0
        summed = tuple(k for k in range(start, end) if (k - start + 1 in members) == (sign < 0))
        return self._n_features + self.sums.setdefault((sign, summed), len(self.sums)), sign / 2

    def matrix(self) -> Array:
        """Return the matrix [F, S] that maps features [N, F] to the sums [N, S]."""
        made = np.zeros((self._n_features, len(self.sums)), dtype=np.float32)
        for (sign, summed), k in self.sums.items():
            made[list(summed), k] = sign
        return made


def _members(words: list[int]) -> set[int]:
    return {32 * k + bit for k, word in enumerate(words) for bit in range(32) if word >> bit & 1}


def _rounded_down(exact: float) -> float:
    near = np.float32(exact)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > exact else near)


def _insert_sums(graph: onnx.GraphProto, matrix: Array, n_features: int) -> None:
    columns = graph.input[0].name
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, n_features]))
    if not matrix.size:
        graph.node.insert(0, helper.make_node("Identity", ["features"], [columns]))
        return
    graph.initializer.append(numpy_helper.from_array(matrix, "summed"))
    graph.node.insert(0, helper.make_node("MatMul", ["features", "summed"], ["sums"]))
    graph.node.insert(1, helper.make_node("Concat", ["features", "sums"], [columns], axis=1))
