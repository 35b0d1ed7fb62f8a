"""Ensembles of trees of any library as ONNX: one operator ``TreeEnsemble`` (ai.onnx.ml 5), in double precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from when_ml_pipeline_meets_hydra.ml import onnx_size
from when_ml_pipeline_meets_hydra.ml.models import double_graph
from when_ml_pipeline_meets_hydra.ml.models.double_graph import COLUMNS, Link

Array = np.ndarray[Any, Any]
_SUM, _NO_TRANSFORM = 1, 0
_AT_MOST, _MEMBER = 0, 6  # modes of a node: BRANCH_LEQ, BRANCH_MEMBER


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A tree of I nodes and L leaves that adds to one ``target``.

    Rows whose ``feature`` is at most ``threshold`` go to the ``left``, others to the ``right``: the index of a node, or
    ~k for leaf k; at a node with ``members``, those whose feature is one of these numbers go to the left. NaN goes to
    the right, or to the left at nodes in ``missing_left`` without members. A tree without nodes has one leaf.
    """

    feature: Array  # [I], int
    threshold: Array  # [I], float64
    left: Array  # [I], int
    right: Array  # [I], int
    leaves: Array  # [L], float64
    members: Mapping[int, Sequence[int]] = field(default_factory=dict)
    target: int = 0
    missing_left: Array | None = None  # [I], bool


def to_graph(
    trees: Sequence[Tree],
    base: Array,
    n_features: int,
    link: Link,
    columns: Sequence[onnx.NodeProto] = (),
    tensors: Mapping[str, Array] | None = None,
    start: Sequence[onnx.NodeProto] = (),
) -> onnx.ModelProto:
    """Return the graph of ``base``, float64 [K], plus the sums of the trees of each of K targets; see ``model``.

    ``columns`` are nodes that compute what the trees split by, ``columns``, from ``features`` and ``tensors``; without
    them it is the features. ``start`` are nodes that compute ``start`` [N, K], which is added, too.
    """
    source = COLUMNS if columns else double_graph.FEATURES
    nodes = [
        *columns,
        *start,
        _operator(trees, len(base), source, "sums"),
        helper.make_node("Add", ["sums", "base"], ["trees" if start else double_graph.SCORES]),
        *([helper.make_node("Add", ["trees", "start"], [double_graph.SCORES])] if start else []),
    ]
    return double_graph.model(nodes, {**(tensors or {}), "base": base.astype(np.float64)}, n_features, link)


def _operator(trees: Sequence[Tree], n_targets: int, source: str, output: str) -> onnx.NodeProto:
    kept = [_with_a_node(tree) for tree in trees if len(tree.feature) or tree.leaves.any()] or [_with_a_node(trees[0])]
    nodes = list(accumulate((len(tree.feature) for tree in kept), initial=0))
    leaves = list(accumulate((len(tree.leaves) for tree in kept), initial=0))
    attributes: dict[str, Any] = {
        "n_targets": n_targets,
        "aggregate_function": _SUM,
        "post_transform": _NO_TRANSFORM,
        "tree_roots": nodes[:-1],
        "nodes_featureids": np.concatenate([tree.feature for tree in kept]),
        "nodes_splits": np.concatenate([tree.threshold for tree in kept]).astype(np.float64),
        "nodes_modes": np.concatenate([_modes(tree) for tree in kept]),
        "leaf_targetids": np.repeat([tree.target for tree in kept], [len(tree.leaves) for tree in kept]),
        "leaf_weights": np.concatenate([tree.leaves for tree in kept]).astype(np.float64),
    }
    for side, name in (("left", "true"), ("right", "false")):
        ends = [getattr(tree, side) for tree in kept]
        places = [
            np.where(end < 0, ~end + leaf, end + node) for end, node, leaf in zip(ends, nodes, leaves, strict=False)
        ]
        attributes[f"nodes_{name}nodeids"] = np.concatenate(places)
        attributes[f"nodes_{name}leafs"] = np.concatenate(ends) < 0
    if sets := [[*tree.members[k], np.nan] for tree in kept for k in sorted(tree.members)]:
        attributes["membership_values"] = np.concatenate(sets).astype(np.float64)
    missing_left = np.concatenate([_missing_left(tree) for tree in kept])
    if missing_left.any():
        attributes["nodes_missing_value_tracks_true"] = missing_left
    _check_size(len(kept), attributes)
    made = onnx.NodeProto(op_type="TreeEnsemble", domain="ai.onnx.ml", input=[source], output=[output])
    made.attribute.extend(_attribute(name, value) for name, value in sorted(attributes.items()))
    return made


def _with_a_node(tree: Tree) -> Tree:
    """A tree of a single leaf gets a node, both of whose branches end in it."""
    if len(tree.feature):
        return tree
    zero, leaf = np.zeros(1, dtype=np.int64), np.full(1, -1)
    return Tree(feature=zero, threshold=zero, left=leaf, right=leaf, leaves=tree.leaves, target=tree.target)


def _modes(tree: Tree) -> Array:
    modes = np.full(len(tree.feature), _AT_MOST, dtype=np.uint8)
    modes[list(tree.members)] = _MEMBER
    return modes


def _check_size(trees: int, attributes: Mapping[str, Any]) -> None:
    """Before they are written, which takes long: whether they fit into a file."""
    numbers = [np.asarray(values) for values in attributes.values()]
    size = sum(x.nbytes if _is_tensor(x) else x.size * (1 + _bytes(x)) for x in numbers)
    nodes = len(attributes["nodes_featureids"])
    remedy = "fewer, shallower trees or larger leaves (m_param.n_estimators, max_depth, min_samples_leaf) take less"
    onnx_size.check(size, f"The graph of {trees:,} trees with {nodes:,} splits", remedy)


def _bytes(whole: Array) -> int:
    """The most bytes that protobuf needs for one of these numbers."""
    return max(1, -(-int(whole.max(initial=0)).bit_length() // 7))


def _is_tensor(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype in (np.float64, np.uint8)


def _missing_left(tree: Tree) -> Array:
    left = np.zeros(len(tree.feature), dtype=bool) if tree.missing_left is None else tree.missing_left.copy()
    left[list(tree.members)] = False
    return left


def _attribute(name: str, value: Any) -> onnx.AttributeProto:
    # helper.make_attribute looks at each of millions of numbers.
    if isinstance(value, int):
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INT, i=value)
    if _is_tensor(value):
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=numpy_helper.from_array(value))
    return onnx.AttributeProto(
        name=name, type=onnx.AttributeProto.INTS, ints=np.asarray(value, dtype=np.int64).tolist()
    )
