"""The hyperparameters of networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.training.param import Loss

Optimizer = Literal["adamw", "adam", "rmsprop", "sgd"]
Schedule = Literal["constant", "cosine"]


@frozen
class NetworkParam:
    """The hyperparameters of networks, which are trained by gradient descent; an epoch uses every training row once."""

    loss: Annotated[Loss, Field(description="What a regression minimises; classification always uses the log loss")] = (
        Loss.SQUARED_ERROR
    )
    quantile: Annotated[float, Field(gt=0, lt=1, description="The quantile that loss=quantile predicts")] = 0.5
    optimizer: Annotated[Optimizer, Field(description="Optimiser of the weights; sgd has momentum 0.9")] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10, description="Learning rate of the first epoch")] = 0.005
    schedule: Annotated[Schedule, Field(description="Learning rate over the epochs; cosine: falls to almost 0")] = (
        "cosine"
    )
    weight_decay: Annotated[float, Field(ge=0, lt=1, description="Decay of all weights towards 0")] = 0.01
    epochs: Annotated[int, Field(ge=1, le=1_000_000, description="Maximum number of epochs")] = 60
    batch_size: Annotated[int, Field(ge=2, lt=2**31, description="Rows in one step of the optimiser")] = 32
    mixed_precision: Annotated[
        bool, Field(description="Compute with 16-bit floats (bfloat16) where they suffice: faster on many GPUs")
    ] = False
    validation_fraction: Annotated[
        float, Field(gt=0, lt=1, description="Part of the training rows used for early stopping")
    ] = 0.1
    patience: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Epochs without a better validation loss before stopping; null: never, trains on all rows",
        ),
    ] = 15
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of everything random in training")] = 0
