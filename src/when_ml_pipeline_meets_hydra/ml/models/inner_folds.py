"""Parts of the training rows that are held out in turn, for choices inside the training of one model."""

from __future__ import annotations

from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.ml.training.kept_apart import KeptApart

Array = np.ndarray[Any, Any]
_ONE_PART, _NEWEST = 0.1, 0.2  # shares of the rows


def inner_folds(
    target: Array, number: int, seed: int, *, is_classes: bool, apart: KeptApart | None = None
) -> list[tuple[Array, Array]]:
    """Return the rows to train on and the rows that are held out, as indices, of each of ``number`` folds.

    One fold holds out a tenth of the rows. The folds are like the split: at random, of whole groups, or a single one
    with the newest rows. All classes (``target`` has their indices) are in all rows to train on; at random, each is
    spread evenly.
    """
    folds = _folds(target, number, seed, is_classes, apart)
    if is_classes:
        folds = _trained_on(folds, target, apart)
    held_out = [folds == k for k in range(number)]
    found = [(np.flatnonzero(~held), np.flatnonzero(held)) for held in held_out if held.any() and not held.all()]
    if not found and apart:  # as of a single group
        return inner_folds(target, number, seed, is_classes=is_classes)
    return found


def _folds(target: Array, number: int, seed: int, is_classes: bool, apart: KeptApart | None) -> Array:
    """The fold of each row, [N], from 0; -1: none."""
    if apart and apart.in_time:
        return np.where(apart.held_out(_NEWEST, seed), 0, -1)
    turns = min(number if number > 1 else round(1 / _ONE_PART), len(target))
    if apart:
        return apart.folds(turns, seed)
    order = np.random.default_rng(seed).permutation(len(target))
    if is_classes:
        order = order[np.argsort(target[order], kind="stable")]
    folds = np.empty(len(target), dtype=np.int64)
    folds[order] = np.arange(len(target)) % turns
    return folds


def _trained_on(folds: Array, target: Array, apart: KeptApart | None) -> Array:
    """The folds without the rows, and the whole groups, of classes all of whose rows would be held out at once."""
    lowest, highest = np.full(target.max() + 1, len(folds)), np.full(target.max() + 1, -1)
    np.minimum.at(lowest, target, folds)
    np.maximum.at(highest, target, folds)
    never = ((lowest == highest) & (lowest >= 0))[target]
    if apart and not apart.in_time:
        never = np.isin(apart.values, apart.values[never])
    return np.where(never, -1, folds)
