"""The scale of a numeric target: models are trained on numbers around 0, whatever the target's unit and offset are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.errors import StepFailed

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """The ``center`` (near the mean) and the ``spread`` (standard deviation, or 1) of a target, in its unit."""

    center: float
    spread: float

    @classmethod
    def of(cls, target: Array) -> TargetScale:
        """Return that of the training rows, finite float64 [N].

        Raises:
            StepFailed: the numbers are too large.
        """
        # As differences from one of the numbers: sums of large numbers would lose what distinguishes them.
        first = float(target[0])
        offsets = target - first
        with np.errstate(over="ignore", invalid="ignore"):
            spread = float(np.std(offsets))
        if not np.isfinite(spread):
            ends = f"from {target.min():.4g} to {target.max():.4g}"
            raise StepFailed(
                f"The target has numbers {ends}, whose squares are too large; correct them, or use a larger unit"
            )
        return cls(center=first + _rounded(float(np.mean(offsets)), spread), spread=spread if spread > 0 else 1.0)

    def apply(self, target: Array) -> Array:
        """Return the target with mean 0, to a thousandth of its standard deviation, which is 1."""
        scaled: Array = (target - self.center) / self.spread
        return scaled

    def restore(self, scaled: Array) -> Array:
        """Return scaled numbers in the unit of the target."""
        return scaled * self.spread + self.center


def _rounded(mean: float, spread: float) -> float:
    """Return a mean as a multiple of a power of 2 that is about a thousandth of the spread.

    Numbers that are far from 0 then have a center without an error of rounding, and the scaled target is the same, to
    the last digit, as near 0. Trees are as sensitive as that: which of two splits that are equally good is taken.
    """
    if not spread > 0:
        return mean
    step = 2.0 ** (np.floor(np.log2(spread)) - 10)
    return float(np.round(mean / step) * step)
