"""The schema of a table: the column to predict, and the columns to predict it from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Column
from when_ml_pipeline_meets_hydra.ml.datasets.interface import TaskChoice


@frozen
class Schema:
    """The columns of a table to use; it may have more."""

    name: Annotated[str, Field(min_length=1, description="Name of the table, and of the data set")]
    target: Annotated[Column, Field(description="Column to predict; never null")]
    features: Annotated[tuple[Column, ...], Field(min_length=1, description="Columns to predict it from")]
    task: Annotated[TaskChoice, Field(description="What to predict; auto: decided by the target's values")] = (
        TaskChoice.AUTO
    )

    @model_validator(mode="after")
    def _each_column_once(self) -> Self:
        names = [c.name for c in self.columns]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"each column may be named once; more than once there is {', '.join(twice)}")
        return self

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features, then the target."""
        return (*self.features, self.target)

    def with_keys(self) -> Iterator[tuple[str, Column]]:
        """Yield each column with its config key, in the order of ``columns``."""
        yield from ((f"schema.features[{k}]", c) for k, c in enumerate(self.features))
        yield "schema.target", self.target
