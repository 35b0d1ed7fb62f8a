"""The hyperparameters of networks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.training.param import Loss

Optimizer = Literal["adamw", "adam", "rmsprop", "sgd"]
Schedule = Literal["constant", "cosine"]


@frozen
class NetworkParam:
    """How a network learns: by gradient descent, in epochs, each of which sees every training row once."""

    options: ClassVar[str] = "adamw"

    loss: Annotated[Loss, Field(description="What a regression minimises; classification always uses the log loss")] = (
        Loss.SQUARED_ERROR
    )
    quantile: Annotated[float, Field(gt=0, lt=1, description="The quantile that loss=quantile predicts")] = 0.5
    optimizer: Annotated[Optimizer, Field(description="How weights follow gradients; sgd has momentum 0.9")] = "adamw"
    lr: Annotated[float, Field(gt=0, le=10, description="Learning rate of the first epoch")] = 0.005
    schedule: Annotated[Schedule, Field(description="Learning rate over the epochs; cosine: falls to almost 0")] = (
        "cosine"
    )
    weight_decay: Annotated[float, Field(ge=0, lt=1, description="Pull of all weights towards 0")] = 0.01
    epochs: Annotated[int, Field(ge=1, le=1_000_000, description="Most epochs")] = 60
    batch_size: Annotated[int, Field(ge=2, lt=2**31, description="Rows that one step of the optimiser looks at")] = 32
    validation_fraction: Annotated[
        float, Field(gt=0, lt=1, description="Part of the training rows that early stopping looks at")
    ] = 0.1
    patience: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Epochs without a better validation loss until it stops; null: trains on all rows",
        ),
    ] = 15
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of everything random in training")] = 0
