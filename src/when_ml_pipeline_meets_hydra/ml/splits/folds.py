"""A fold: a part of the training rows of a split, held out in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Checked, Fingerprinted, FromFiles, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.splits import interface
from when_ml_pipeline_meets_hydra.ml.splits.column import Column
from when_ml_pipeline_meets_hydra.ml.splits.interface import HELD_OUT, RowSplit, Separated, SplitRows

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows


@frozen
class Fold:
    """The split ``within`` of the training rows of another one; what that one holds out is in neither part."""

    of: RowSplit
    within: RowSplit
    name: Annotated[str, Unkeyed()]

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns that both read."""
        return {**interface.columns_of(self.of), **interface.columns_of(self.within)}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The columns that are no features of the data that are trained on in the end."""
        return interface.left_out_by(self.of)

    @property
    def separates(self) -> Separated | None:
        """What the fold keeps apart."""
        return interface.separated_by(self.within)

    def all_rows(self, rows: RawRows) -> RawRows:
        """Return the rows, with those that the split adds."""
        return interface.all_rows(self.of, rows)

    def files(self) -> Iterable[Path]:
        """Return the files of the split."""
        return self.of.files() if isinstance(self.of, FromFiles) else ()

    def fingerprint(self) -> str:
        """Return the digest of the split's data."""
        return self.of.fingerprint() if isinstance(self.of, Fingerprinted) else ""

    def check(self) -> Iterable[Problem]:
        """Return the problems of the split."""
        return self.of.check() if isinstance(self.of, Checked) else ()

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        import polars as pl

        outer = self.of.held_out(rows)
        names = rows.frame.collect_schema().names()
        inner = replace(rows, frame=outer.filter(~pl.col(HELD_OUT)).select(names))
        return self.within.held_out(inner)


@frozen
class KFoldPart:
    """One of ``k`` equal parts at random, ``number`` from 0; if ``stratified``, of each class."""

    k: Annotated[int, Field(ge=2)]
    number: Annotated[int, Field(ge=0)]
    repeat: Annotated[int, Field(ge=0)] = 0
    stratified: bool = True
    seed: int

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import sides

        def ranks(count: int) -> tuple[int, int]:
            return round(count * self.number / self.k), round(count * (self.number + 1) / self.k)

        seed = sides.derived_seed(self.seed, self.repeat)
        return sides.by_hash(rows.frame, seed, ranks, stratified=self.stratified)


@frozen
class HeldOutPart:
    """A part at random, ``fraction`` of each class."""

    fraction: float
    seed: int

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import sides

        seed = sides.derived_seed(self.seed, 0)
        return sides.by_hash(rows.frame, seed, lambda number: (0, sides.part_of(number, self.fraction)))


@frozen
class _ByColumn:
    column: Column

    @property
    def columns(self) -> Mapping[str, str]:
        """The column."""
        return {self.column: "validation.column"}


@frozen
class NewestPart(_ByColumn):
    """The newest rows, ``fraction`` of them."""

    fraction: float

    @property
    def separates(self) -> Separated:
        """No training row is newer than a held-out one."""
        return Separated(column=self.column, in_time=True)

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import by_value

        return by_value.newest(rows, self.column, self.fraction)


@frozen
class TimeWindow(_ByColumn):
    """One of ``k`` parts of time; all earlier rows are training rows, later ones in neither part."""

    number: int
    k: int

    @property
    def separates(self) -> Separated:
        """No training row is newer than a held-out one."""
        return Separated(column=self.column, in_time=True)

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import by_value

        return by_value.window(rows, self.column, self.number, self.k)


@frozen
class GroupPart(_ByColumn):
    """One of ``k`` parts of whole groups, with about as many rows; without ``k``: about ``fraction`` of the rows."""

    number: int = 0
    k: int | None = None
    fraction: float = 0.2
    seed: int

    @property
    def separates(self) -> Separated:
        """No group is on both sides."""
        return Separated(column=self.column)

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import by_value

        if self.k is None:
            return by_value.groups(rows, self.column, self.fraction, self.seed + 1)
        return by_value.group_fold(rows, self.column, self.number, self.k, self.seed)


Within = tuple[Any, ...]


def folds(of: RowSplit, parts: Within) -> tuple[Fold, ...]:
    """Return the folds of a split's training rows, named by their number."""
    return tuple(Fold(of=of, within=part, name=f"fold {n}/{len(parts)}") for n, part in enumerate(parts, 1))
