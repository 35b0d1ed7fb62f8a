"""Split: whole groups of rows are held out."""

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
class GroupSplit:
    """Holds out all rows of some groups, chosen by a seeded hash, so that no group is on both sides."""

    column: Annotated[Column, Field(description="Column with the groups (a customer, a patient); no feature")]
    test_fraction: Annotated[float, Field(gt=0, lt=1, description="About this share of the rows is held out")] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the choice of groups")] = 0
    dataset: Annotated[Dataset, Chosen(), Unkeyed()]

    @property
    def columns(self) -> Mapping[str, str]:
        """The column."""
        return {self.column: "split.column"}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The column: groups to predict are new ones."""
        return (self.column,)

    @property
    def separates(self) -> Separated:
        """No group is on both sides."""
        return Separated(column=self.column)

    def check(self) -> Iterable[Problem]:
        """Return the problem of a column that is not there."""
        return column_problems(self.column, self.dataset)

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import by_value

        return by_value.groups(rows, self.column, self.test_fraction, self.seed)
