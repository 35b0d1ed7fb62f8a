"""Split: the newest rows are held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Chosen, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset
from when_ml_pipeline_meets_hydra.ml.splits.column import Column, column_problems
from when_ml_pipeline_meets_hydra.ml.splits.interface import Separated

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.splits.interface import SplitRows


@frozen
class TimeSplit:
    """Holds out the rows with the largest values of a column: dates, times or numbers; one time stays together."""

    column: Annotated[Column, Field(description="Column of dates, times or numbers; the newest rows are held out")]
    test_fraction: Annotated[float, Field(gt=0, lt=1, description="About this share of the rows is held out")] = 0.2
    dataset: Annotated[Dataset, Chosen(), Unkeyed()]

    @property
    def columns(self) -> Mapping[str, str]:
        """The column."""
        return {self.column: "split.column"}

    @property
    def separates(self) -> Separated:
        """No training row is newer than a held-out one."""
        return Separated(column=self.column, in_time=True)

    def check(self) -> Iterable[Problem]:
        """Return the problem of a column that is not there."""
        return column_problems(self.column, self.dataset)

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import by_value

        return by_value.newest(rows, self.column, self.test_fraction)
