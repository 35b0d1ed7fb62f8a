"""The graphs of scikit-learn's trees, forests and boosted trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from sklearn import ensemble, tree

from when_ml_pipeline_meets_hydra.ml.models import tree_ensemble
from when_ml_pipeline_meets_hydra.ml.models.double_graph import Link
from when_ml_pipeline_meets_hydra.ml.models.tree_ensemble import Tree

Array = np.ndarray[Any, Any]
_AVERAGED = (
    *(tree.DecisionTreeRegressor, tree.DecisionTreeClassifier),
    *(ensemble.RandomForestRegressor, ensemble.RandomForestClassifier),
    *(ensemble.ExtraTreesRegressor, ensemble.ExtraTreesClassifier),
)
_BOOSTED = (ensemble.GradientBoostingRegressor, ensemble.GradientBoostingClassifier)


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto | None:
    """Return the graph of a fitted estimator (see ``Model.export``), or None if it is not made of such trees."""
    if isinstance(estimator, _BOOSTED):
        return _boosted(estimator, n_features)
    return _averaged(estimator, n_features) if isinstance(estimator, _AVERAGED) else None


def is_known(estimator: Any) -> bool:
    """Whether an estimator is made of such trees."""
    return isinstance(estimator, (*_BOOSTED, *_AVERAGED))


def _averaged(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The mean of the trees' values: numbers, or the part of each class in a leaf."""
    trees = getattr(estimator, "estimators_", [estimator])
    classes = len(getattr(estimator, "classes_", ()))
    wanted = [0] if not classes else [1] if classes == 2 else list(range(classes))
    made = [one for member in trees for one in _of_targets(member.tree_, member.tree_.value[:, 0, wanted] / len(trees))]
    link = Link.COMPLEMENT if classes == 2 else Link.IDENTITY
    return tree_ensemble.to_graph(made, np.zeros(len(wanted)), n_features, link)


def _boosted(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The weighted sum of the trees' values, and what boosting begins with."""
    rate, stages = estimator.learning_rate, estimator.estimators_
    made = [
        one
        for stage in stages
        for k, member in enumerate(stage)
        for one in _of_targets(member.tree_, rate * member.tree_.value[:, 0, :1], first=k)
    ]
    # What it begins with is private, and the same for all rows: the prediction without the trees.
    row = np.zeros((1, n_features), dtype=np.float32)
    whole = estimator.decision_function(row) if hasattr(estimator, "classes_") else estimator.predict(row)
    sums = [rate * sum(member.predict(row)[0] for member in column) for column in stages.T]
    base = np.ravel(whole) - sums
    link = Link.IDENTITY
    if hasattr(estimator, "classes_"):
        link = Link.SIGMOID if len(base) == 1 else Link.SOFTMAX
    return tree_ensemble.to_graph(made, base, n_features, link)


def _of_targets(fitted: Any, values: Array, first: int = 0) -> Iterator[Tree]:
    """Yield one tree for each target, with ``values`` [nodes, targets]; parts of equal leaves are one leaf."""
    left, right = fitted.children_left, fitted.children_right
    lowest, highest = values.copy(), values.copy()
    for nodes in _by_level(left, right)[::-1]:
        inner = nodes[left[nodes] >= 0]
        lowest[inner] = np.minimum(lowest[left[inner]], lowest[right[inner]])
        highest[inner] = np.maximum(highest[left[inner]], highest[right[inner]])
    for k in range(values.shape[1]):
        splits = (left >= 0) & (lowest[:, k] < highest[:, k])
        is_leaf = np.zeros(len(left), dtype=bool)
        is_leaf[left[splits]] = is_leaf[right[splits]] = True
        is_leaf[0] = True
        is_leaf &= ~splits
        place = np.where(splits, np.cumsum(splits) - 1, ~(np.cumsum(is_leaf) - 1))
        yield Tree(
            feature=fitted.feature[splits],
            threshold=fitted.threshold[splits],
            left=place[left[splits]],
            right=place[right[splits]],
            leaves=lowest[is_leaf, k],
            target=first + k,
        )


def _by_level(left: Array, right: Array) -> list[Array]:
    """The nodes of each level, the root's first."""
    levels = [np.zeros(1, dtype=np.int64)]
    while len(levels[-1]):
        inner = levels[-1][left[levels[-1]] >= 0]
        levels.append(np.concatenate((left[inner], right[inner])))
    return levels
