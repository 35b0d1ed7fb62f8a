"""The held-out rows of the prepared data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task
from when_ml_pipeline_meets_hydra.ml.inputs.interface import Batch


@frozen
class HeldOut:
    """The held-out rows of the prepared data, which were not used for training."""

    name: Annotated[str, Field(min_length=1, description="Name of the rows in reports")] = "held-out rows"

    def batches(self, data: PreparedData, folder: Path) -> Iterator[Batch]:
        """Yield all rows as one batch of features."""
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.training.matrices import read_split

        rows = read_split(data, "test")
        if data.task is Task.CLASSIFICATION:
            names = [data.classes[k] for k in rows.target.tolist()]
            target = pl.Series("target", names, dtype=pl.String)
        else:
            target = pl.Series("target", rows.target, dtype=pl.Float64)
        yield Batch(target=target, features=rows.features)
