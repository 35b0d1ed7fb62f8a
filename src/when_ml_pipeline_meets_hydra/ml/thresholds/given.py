"""A threshold that is given."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts, Positive


@frozen
class Given:
    """A threshold that is known beforehand."""

    value: Annotated[float, Field(gt=0, lt=1, description="The probability from which on a row gets the class")]
    positive: Positive = None

    is_wanted: ClassVar[bool] = True
    is_chosen: ClassVar[bool] = False

    def choose(self, counts: Counts) -> float:
        """Return the value."""
        return self.value
