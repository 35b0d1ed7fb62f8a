"""The choice of an ensemble's members and their weights, by out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_BAGS, _FEWEST_OF_A_BAG = 10, 4
_LEAST_WEIGHT = 0.03  # of a member; smaller ones cost more time of each prediction than they are worth
_LEAST_PROBABILITY = 1e-6
_MOST_VALUES = 10_000_000  # of all predictions; of more rows, so many at random


def weights(predictions: Sequence[Array], target: Array, rounds: int, seed: int, of_rows: Array | None = None) -> Array:
    """Return the weight of each model, [M], by their out-of-fold ``predictions``, [N, K] each.

    Members are chosen greedily with replacement in ``rounds`` steps, in random halves of the models, whose weights are
    averaged (Caruana et al., "Ensemble selection from libraries of models", 2004, section 2.3).

    Args:
        predictions: numbers, [N, 1], or probabilities of classes.
        target: [N], numbers, or indices of the classes.
        rounds: of each choice.
        seed: of the halves.
        of_rows: the weights of the rows, [N]; None: all count the same.
    """
    known = np.flatnonzero(np.all([np.isfinite(p).all(axis=1) for p in predictions], axis=0))
    most = max(1, _MOST_VALUES // sum(p.shape[1] for p in predictions))
    if len(known) > most:
        known = np.sort(np.random.default_rng(seed).choice(known, most, replace=False))
    kept, wanted = np.stack([p[known] for p in predictions]), target[known]
    counting = None if of_rows is None else of_rows[known]
    number, size = len(kept), -(-len(kept) // 2)
    if size < _FEWEST_OF_A_BAG:
        found = _greedy(kept, wanted, counting, rounds)
    else:
        rng, found = np.random.default_rng(seed), np.zeros(number)
        for _ in range(_BAGS):
            bag = np.sort(rng.choice(number, size, replace=False))
            found[bag] += _greedy(kept[bag], wanted, counting, rounds) / _BAGS
    large = np.where(found >= _LEAST_WEIGHT, found, 0)
    large = large if large.any() else found
    normalised: Array = large / large.sum()
    return normalised


def loss_of(predictions: Array, target: Array, of_rows: Array | None = None) -> float:
    """Return the root of the mean squared error of numbers, [N, 1], or the log loss of probabilities, [N, K].

    Rows count by their weights ``of_rows``, [N]; None: all the same.
    """
    known = np.isfinite(predictions).all(axis=1)
    loss = _losses(predictions[None, known], target[known], None if of_rows is None else of_rows[known])[0]
    return float(loss if _are_classes(predictions) else np.sqrt(loss))


def _greedy(predictions: Array, target: Array, of_rows: Array | None, rounds: int) -> Array:
    """The weights after the best of so many choices of the model that improves the mean most."""
    total, counts = np.zeros(predictions.shape[1:]), np.zeros(len(predictions))
    best, kept = np.inf, counts
    for done in range(1, rounds + 1):
        losses = _losses((total + predictions) / done, target, of_rows)
        chosen = int(np.argmin(losses))
        total = total + predictions[chosen]
        counts[chosen] += 1
        if losses[chosen] < best:
            best, kept = losses[chosen], counts / done
    return kept


def _losses(means: Array, target: Array, of_rows: Array | None) -> Array:
    """The loss of each of M means, [M, N, K]."""
    if _are_classes(means):
        of_class = np.take_along_axis(means, np.broadcast_to(target[:, None], (len(means), len(target), 1)), axis=2)
        losses = -np.log(np.maximum(of_class[:, :, 0], _LEAST_PROBABILITY))
    else:
        losses = (means[:, :, 0] - target) ** 2
    mean: Array = losses.mean(axis=1) if of_rows is None else losses @ (of_rows / of_rows.sum())
    return mean


def _are_classes(predictions: Array) -> bool:
    return bool(predictions.shape[-1] > 1)
