"""A linear function that trees start from, and its share beside trees that start from a constant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV

Array = np.ndarray[Any, Any]
_ALPHAS = np.logspace(-2, 4, 13)  # strengths of the regularisation, chosen by cross-validation
# Beyond these it takes long, and many rows tell trees as much: rows, and rows times features squared.
_MOST_ROWS, _MOST_PRODUCTS = 50_000, 4_500_000_000
_LEAST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Line:
    """A linear function of the features at ``places`` [f], bounded by its values on the training rows.

    ``coefficients`` are [f].
    """

    places: Array
    coefficients: Array
    intercept: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, features: Array, target: Array, places: Array, weights: Array | None) -> Line:
        """Fit it by ridge regression to the features at ``places``, [N, f]; rows count by their ``weights``, [N]."""
        fitted = RidgeCV(alphas=_ALPHAS).fit(features, target, sample_weight=weights)
        values = features @ fitted.coef_ + fitted.intercept_
        ends = {"lowest": float(values.min()), "highest": float(values.max())}
        return cls(places=places, coefficients=fitted.coef_, intercept=float(fitted.intercept_), **ends)

    def values(self, features: Array) -> Array:
        """Return its values, [N], for the features at ``places``, [N, f]."""
        values: Array = np.clip(features @ self.coefficients + self.intercept, self.lowest, self.highest)
        return values

    def predict(self, features: Array) -> Array:
        """Return its values, [N], for all features, [N, F]."""
        return self.values(features[:, self.places].astype(np.float64))

    def of_all(self, n_features: int) -> Array:
        """Return the coefficients of all features, [F]."""
        made = np.zeros(n_features)
        made[self.places] = self.coefficients
        return made


def places(rows: int, n_features: int, rare: Collection[int]) -> Array | None:
    """Return the features, as indices, of which a linear function is fitted fast; None: there are too many.

    Those of ``rare`` categories are among them only if it is fast with all.
    """
    for candidate in (np.arange(n_features), np.setdiff1d(np.arange(n_features), list(rare))):
        if rows <= _MOST_ROWS and rows * len(candidate) ** 2 <= _MOST_PRODUCTS and len(candidate):
            return candidate
    return None


def shares(target: Array, constant: Array, line: Array, weights: Array | None = None) -> dict[bool, float]:
    """Return the share of each start (False: the constant, True: the line) in the prediction, without small ones.

    The shares are those with the least squared error on rows that neither was trained on (Breiman, "Stacked
    regressions", 1996): with a clear difference the better one is alone, otherwise the mean of both errs less than the
    choice of the one that happens to be better on few rows.

    Args:
        target: [N].
        constant: the predictions with a constant as the start, [N].
        line: those with a line as the start, [N].
        weights: of the rows, [N]; None: all count the same.
    """
    difference = line - constant
    weighted = difference if weights is None else weights * difference
    squares = float(weighted @ difference)
    share = float(np.clip((target - constant) @ weighted / squares, 0, 1)) if squares > 0 else 0.0
    if share < _LEAST_SHARE:
        return {False: 1.0}
    return {True: 1.0} if share > 1 - _LEAST_SHARE else {False: 1 - share, True: share}
