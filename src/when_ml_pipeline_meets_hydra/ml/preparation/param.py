"""The parameters of preprocessing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen


class Scaling(StrEnum):
    """The scaling of a number x: x; (x - mean) / standard deviation; (x - median) / interquartile range."""

    NONE = "none"
    STANDARD = "standard"
    ROBUST = "robust"


class Imputation(StrEnum):
    """The replacement of a missing number."""

    MEAN = "mean"
    MEDIAN = "median"
    ZERO = "zero"


@frozen
class PreparationParam:
    """The parameters of preprocessing, which is fitted on the training rows only."""

    scaling: Annotated[
        Scaling, Field(description="Scaling of numbers; none: only of those that 32-bit floats cannot tell apart")
    ] = Scaling.STANDARD
    imputation: Annotated[Imputation, Field(description="Replacement of a missing number")] = Imputation.MEDIAN
    missing_indicator: Annotated[
        bool, Field(description="Add a feature that is 1 where a number is missing, for columns where that happens")
    ] = True
    max_categories: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description="Most categories per text column; rarer ones count as unknown; null: 254, and 30 of large "
            "tables for models that take each as a feature",
        ),
    ] = None
    min_frequency: Annotated[
        float | None,
        Field(
            gt=0,
            le=0.5,
            description="Share of the training rows that a category needs to get a feature; null: two rows, and 0.005 "
            "of large tables for models that take each as a feature",
        ),
    ] = None
