"""Parts of the training rows that are held out in turn, for choices inside the training of one model."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def inner_folds(target: Array, number: int, seed: int, *, is_classes: bool) -> Array:
    """Return the fold of each row, [N], from 0.

    Each class (index) is spread evenly over the folds; one of a single row is in no fold (-1), since it could not be
    trained on while it is held out.
    """
    order = np.random.default_rng(seed).permutation(len(target))
    if is_classes:
        order = order[np.argsort(target[order], kind="stable")]
    folds = np.empty(len(target), dtype=np.int64)
    folds[order] = np.arange(len(target)) % number
    if is_classes:
        folds[np.isin(target, np.flatnonzero(np.bincount(target) == 1))] = -1
    return folds
