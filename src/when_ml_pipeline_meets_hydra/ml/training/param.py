"""The hyperparameters that all models share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen

_LEAST_COMPLEX = 4


class Loss(StrEnum):
    """The loss that a regression minimises."""

    SQUARED_ERROR = "squared_error"
    ABSOLUTE_ERROR = "absolute_error"
    HUBER = "huber"
    QUANTILE = "quantile"


@runtime_checkable
class Hyperparameters(Protocol):
    """Hyperparameters of any kind of model; see the classes of the options for their other fields."""

    @property
    def seed(self) -> int:
        """Seed of everything random in training."""


@frozen
class TrainingParam:
    """The hyperparameters of trees and linear models; a model ignores those that do not apply to it."""

    options: ClassVar[str] = "small, medium or large"

    loss: Annotated[Loss, Field(description="What a regression minimises; classification always uses the log loss")] = (
        Loss.SQUARED_ERROR
    )
    quantile: Annotated[float, Field(gt=0, lt=1, description="The quantile that loss=quantile predicts")] = 0.5
    learning_rate: Annotated[float, Field(gt=0, lt=1, description="Weight of each tree in a boosted ensemble")] = 0.08
    n_estimators: Annotated[int, Field(ge=1, le=100_000, description="Number of trees (boosting: per class)")] = 80
    max_depth: Annotated[int, Field(ge=1, le=1000, description="Levels of each tree")] = 3
    min_samples_split: Annotated[
        int, Field(ge=2, lt=2**31, description="Rows that a node of a tree needs to be split")
    ] = 20
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of everything random in training")] = 0

    @model_validator(mode="after")
    def _is_complex_enough(self) -> TrainingParam:
        if self.max_depth + self.n_estimators < _LEAST_COMPLEX:
            raise ValueError(
                f"the model is not complex enough: max_depth + n_estimators is {self.max_depth + self.n_estimators}, "
                f"at least {_LEAST_COMPLEX} is needed"
            )
        return self
