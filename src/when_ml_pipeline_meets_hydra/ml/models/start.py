"""The constant that boosting begins with: the best prediction without any tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.ml.training.param import Loss
from when_ml_pipeline_meets_hydra.ml.training.quantiles import quantile_of

Array = np.ndarray[Any, Any]
_HALF_A_ROW = 0.5  # a class that no row has gets finite log-odds


def start_of(target: Array, classes: int, loss: Loss, quantile: float, weights: Array | None) -> Array:
    """Return the constant, [K], for numbers (``classes`` 0), the log-odds of the second class, or those of each.

    Rows count by their ``weights``, [N]; None: all the same.
    """
    if not classes:
        if loss is Loss.SQUARED_ERROR:
            return np.array([np.average(target, weights=weights)])
        return np.array([quantile_of(target, quantile if loss is Loss.QUANTILE else 0.5, weights)])
    shares = np.log(np.bincount(target, weights=weights, minlength=classes) + _HALF_A_ROW)
    if classes == 2:
        return np.array([shares[1] - shares[0]])
    centred: Array = shares - shares.mean()
    return centred
