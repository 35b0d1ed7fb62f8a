"""Hyperparameters: what all have, and those of gradient boosting, which models that name no others take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Protocol, runtime_checkable

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


class TreeLoss(StrEnum):
    """The losses that trees which are split one by one, without gradients, can minimise."""

    SQUARED_ERROR = "squared_error"
    ABSOLUTE_ERROR = "absolute_error"


class HistLoss(StrEnum):
    """The losses that scikit-learn's boosting on binned features can minimise."""

    SQUARED_ERROR = "squared_error"
    ABSOLUTE_ERROR = "absolute_error"
    QUANTILE = "quantile"


class Weights(StrEnum):
    """How much each neighbour counts: all the same, or closer ones more."""

    UNIFORM = "uniform"
    DISTANCE = "distance"


LOSS = "What a regression minimises; classification always uses the log loss"
Quantile = Annotated[float, Field(gt=0, lt=1, description="The quantile that loss=quantile predicts")]
Seed = Annotated[int, Field(ge=0, lt=2**31, description="Seed of everything random in training")]
Rate = Annotated[float, Field(gt=0, lt=1, description="Weight of each tree")]
Trees = Annotated[int, Field(ge=1, le=100_000, description="Number of trees (boosting: per class)")]
MostTrees = Annotated[int, Field(ge=1, le=100_000, description="Maximum number of trees (boosting: per class)")]
Leaves = Annotated[int, Field(ge=2, le=131_072, description="Maximum number of leaves of each tree")]
Depth = Annotated[int, Field(ge=1, le=1000, description="Levels of each tree")]
RowsOfLeaf = Annotated[int, Field(ge=1, lt=2**31, description="Rows that a leaf needs")]
L1 = "L1 regularisation of the values of leaves"
L2 = "L2 regularisation of the values of leaves"
Shrinkage = Annotated[float, Field(ge=0, le=1e6, description=L2)]
FOLDS = "Models whose mean is predicted, each trained without one part of the rows, on which it stops"
PATIENCE = "Trees without a better loss before stopping; null: one model of all trees"
Patience = Annotated[int, Field(ge=1, le=100_000, description="Trees without a better validation loss before stopping")]


@frozen
class TrainingParam:
    """The hyperparameters of ``gradient_boosting``, and of models that name no class of their own."""

    loss: Annotated[Loss, Field(description=LOSS)] = Loss.SQUARED_ERROR
    quantile: Quantile = 0.5
    learning_rate: Annotated[float, Field(gt=0, lt=1, description="Weight of each tree in a boosted ensemble")] = 0.08
    n_estimators: Trees = 80
    max_depth: Depth = 3
    min_samples_split: Annotated[
        int, Field(ge=2, lt=2**31, description="Rows that a node of a tree needs to be split")
    ] = 20
    seed: Seed = 0

    @model_validator(mode="after")
    def _is_complex_enough(self) -> TrainingParam:
        if self.max_depth + self.n_estimators < _LEAST_COMPLEX:
            raise ValueError(
                f"the model is not complex enough: max_depth + n_estimators is {self.max_depth + self.n_estimators}, "
                f"at least {_LEAST_COMPLEX} is needed"
            )
        return self
