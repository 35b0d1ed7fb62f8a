"""The ONNX graph of any trees sums, to the last bit but rounding, what a walk through their nodes sums."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from when_ml_pipeline_meets_hydra.ml.models import tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import Tree

Array = np.ndarray[Any, Any]


def full(rng: np.random.Generator, depth: int, features: int, categories: int = 0, target: int = 0) -> Tree:
    """A tree whose leaves are at one depth; with ``categories``, half of its nodes test whether feature 0 is one."""
    nodes = 2**depth - 1
    first = 2 * np.arange(nodes) + 1
    feature = rng.integers(min(1, categories), features, nodes)
    members = {}
    for node in np.flatnonzero(rng.random(nodes) < 0.5).tolist() if categories else []:
        feature[node] = 0
        members[node] = np.flatnonzero(rng.random(categories + 1) < 0.5).tolist()
    return Tree(
        feature=feature,
        threshold=rng.normal(size=nodes),
        left=np.where(first < nodes, first, nodes - first - 1),
        right=np.where(first + 1 < nodes, first + 1, nodes - first - 2),
        leaves=rng.normal(size=nodes + 1),
        members=members,
        target=target,
    )


def walked(trees: list[Tree], rows: Array, targets: int) -> Array:
    sums = np.zeros((len(rows), targets))
    for tree in trees:
        for k, row in enumerate(rows):
            at = 0 if len(tree.feature) else -1
            while at >= 0:
                value = row[tree.feature[at]]
                is_left = value in tree.members[at] if at in tree.members else value <= tree.threshold[at]
                at = int((tree.left if is_left else tree.right)[at])
            sums[k, tree.target] += tree.leaves[~at]
    return sums


def by_graph(model: onnx.ModelProto, rows: Array) -> Array:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"features": rows})[0]
    return found


@pytest.mark.parametrize("categories", [0, 5, 32, 64, 65, 1000])
def test_thresholds_sets_and_targets(categories: int) -> None:
    rng = np.random.default_rng(categories)
    none = np.zeros(0, dtype=int)
    leaf = Tree(feature=none, threshold=none, left=none, right=none, leaves=np.array([0.25]))
    trees = [full(rng, 4, 3, categories, target=k % 2) for k in range(8)] + [leaf]
    rows = rng.normal(size=(300, 3))
    rows[:, 0] = rng.integers(0, categories + 3, 300)
    base = np.array([2e9, -1.0])
    found = by_graph(tree_ensemble.to_graph(trees, base, 3, Link.IDENTITY), rows)
    np.testing.assert_allclose(found - base, walked(trees, rows, 2), atol=1e-6)
    assert found.dtype == np.float64


def test_a_hundred_deep_trees_are_written_in_seconds() -> None:
    rng = np.random.default_rng(0)
    deep = full(rng, 12, 10)
    start = time.process_time()
    model = tree_ensemble.to_graph([deep] * 100, np.zeros(1), 10, Link.IDENTITY)
    assert len(model.SerializeToString()) > 5_000_000
    assert time.process_time() - start < 20, "an exporter that counts nodes quadratically takes minutes"
    rows = rng.normal(size=(5, 10))
    np.testing.assert_allclose(by_graph(model, rows), 100 * walked([deep], rows, 1))
