"""Split: rows at random, the same share of every class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.splits.interface import SplitRows


@frozen
class RandomSplit:
    """Holds out rows by a seeded hash of their number, the same share of every class."""

    test_fraction: Annotated[
        float, Field(gt=0, lt=1, description="Share of the rows held out for evaluation, exact within each class")
    ] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the choice of held-out rows")] = 0

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import sides

        return sides.by_hash(rows.frame, self.seed, lambda number: (0, sides.part_of(number, self.test_fraction)))
