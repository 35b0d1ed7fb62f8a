"""Quantiles of values that count by weights."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def quantile_of(values: Array, quantile: float, weights: Array | None) -> float:
    """Return a quantile of values, [N], that count by their ``weights``; None: all the same."""
    if weights is None:
        return float(np.quantile(values, quantile))
    return float(np.quantile(values, quantile, weights=weights, method="inverted_cdf"))
