"""The scale of a numeric target: models are trained on numbers around 0, whatever the target's unit and offset are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """The ``center`` (mean) and the ``spread`` (standard deviation; 1 if it is 0) of a target, in its unit."""

    center: float
    spread: float

    @classmethod
    def of(cls, target: Array) -> TargetScale:
        """Return that of the training rows, float64 [N]."""
        # As differences from one of the numbers: sums of large numbers would lose what distinguishes them.
        first = float(target[0])
        offsets = target - first
        center = first + float(np.mean(offsets))
        spread = float(np.std(offsets))
        return cls(center=center, spread=spread if spread > 0 else 1.0)

    def apply(self, target: Array) -> Array:
        """Return the target with mean 0 and standard deviation 1."""
        scaled: Array = (target - self.center) / self.spread
        return scaled

    def restore(self, scaled: Array) -> Array:
        """Return scaled numbers in the unit of the target."""
        return scaled * self.spread + self.center
