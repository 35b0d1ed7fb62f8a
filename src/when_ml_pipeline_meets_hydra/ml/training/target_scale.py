"""The scale of a numeric target: models are trained on numbers around 0, whatever the target's unit and offset are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.errors import StepFailed

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """The ``center`` (mean) and the ``spread`` (standard deviation; 1 if it is 0) of a target, in its unit."""

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
        center = first + float(np.mean(offsets))
        with np.errstate(over="ignore", invalid="ignore"):
            spread = float(np.std(offsets))
        if not np.isfinite(spread):
            ends = f"from {target.min():.4g} to {target.max():.4g}"
            raise StepFailed(
                f"The target has numbers {ends}, whose squares are too large; correct them, or use a larger unit"
            )
        return cls(center=center, spread=spread if spread > 0 else 1.0)

    def apply(self, target: Array) -> Array:
        """Return the target with mean 0 and standard deviation 1."""
        scaled: Array = (target - self.center) / self.spread
        return scaled

    def restore(self, scaled: Array) -> Array:
        """Return scaled numbers in the unit of the target."""
        return scaled * self.spread + self.center
