"""Thresholds that are chosen by predictions for rows that the model was not trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts, Positive

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Array


@frozen
class ByCounts(ABC):
    """Base class of thresholds at which a number is largest."""

    positive: Positive = None

    is_wanted: ClassVar[bool] = True
    is_chosen: ClassVar[bool] = True

    def choose(self, counts: Counts) -> float:
        """Return the threshold with the largest score; the highest one of equal ones."""
        return float(counts.thresholds[self.scores(counts).argmax()])

    @abstractmethod
    def scores(self, counts: Counts) -> Array:
        """Return the score at each threshold, [T]."""


@frozen
class ByF(ByCounts):
    """The largest F score of the positive class (van Rijsbergen, "Information retrieval", 1979)."""

    beta: Annotated[
        float, Field(gt=0, le=1000, description="How much recall counts against precision; 1: the same (F1)")
    ] = 1.0

    def scores(self, counts: Counts) -> Array:
        """Return F at each threshold."""
        squared = self.beta**2
        missed = counts.positives - counts.hits
        f: Array = (1 + squared) * counts.hits / ((1 + squared) * counts.hits + squared * missed + counts.false_alarms)
        return f


@frozen
class ByCost(ByCounts):
    """The smallest cost of wrong predictions."""

    false_positive: Annotated[
        float, Field(ge=0, le=1e9, description="Cost of a row that wrongly gets the positive class")
    ]
    false_negative: Annotated[float, Field(ge=0, le=1e9, description="Cost of a row that wrongly does not get it")]

    @model_validator(mode="after")
    def _costs_something(self) -> Self:
        if self.false_positive == self.false_negative == 0:
            raise ValueError("one of false_positive and false_negative has to be above 0")
        return self

    def scores(self, counts: Counts) -> Array:
        """Return the negative cost at each threshold."""
        missed = counts.positives - counts.hits
        costs: Array = self.false_positive * counts.false_alarms + self.false_negative * missed
        return -costs


@frozen
class ByRecall(ByCounts):
    """The highest threshold at which enough of the positive rows are found."""

    recall: Annotated[float, Field(gt=0, le=1, description="Part of the positive rows that has to be found")]

    def scores(self, counts: Counts) -> Array:
        """Return whether the recall is reached, at each threshold."""
        reached: Array = counts.hits >= self.recall * counts.positives * (1 - 1e-12)
        return reached
