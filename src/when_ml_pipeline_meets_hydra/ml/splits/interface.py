"""The Protocol of splits, and the rows that they receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows

HELD_OUT = "held_out"
HASH = "hash"


@dataclass(frozen=True, kw_only=True)
class SplitRows:
    """The rows of a data set that have a target.

    ``frame`` has the number of the row in the data set as ``row``, the target as ``target``, the index of its class as
    ``label`` (0 for every row of a regression), and the columns that the split reads under the names in ``places``.
    ``classes`` are the names of the classes.
    """

    frame: pl.LazyFrame
    classes: tuple[str, ...]
    places: Mapping[str, str]


@runtime_checkable
class RowSplit(Protocol):
    """Decides which rows are held out of training.

    A subcommand that prepares data and has a parameter ``split: RowSplit`` can be validated in folds: in each of them
    the split is another one. Attributes that a split may have besides: ``columns`` maps the columns of the data set
    that it reads to the config keys that name them; ``left_out`` are those of them that are no features;
    ``separates`` is what it keeps apart, for the gate on leakage; ``all_rows(rows)`` adds rows to those of the data.
    """

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Return ``rows.frame`` with a Boolean column ``held_out``; rows where it is null are in neither part.

        Raises:
            StepFailed: the rows cannot be split.
        """


def columns_of(split: RowSplit) -> Mapping[str, str]:
    """Return the columns that a split reads, each with the config key that names it."""
    return getattr(split, "columns", {})


def left_out_by(split: RowSplit) -> tuple[str, ...]:
    """Return the columns that are no features, since the rows are split by them."""
    return tuple(getattr(split, "left_out", ()))


def separated_by(split: RowSplit) -> Separated | None:
    """Return what a split keeps apart."""
    found: Any = getattr(split, "separates", None)
    return found if isinstance(found, Separated) else None


def all_rows(split: RowSplit, rows: RawRows) -> RawRows:
    """Return the rows of a data set, with those that the split adds."""
    found: RawRows = split.all_rows(rows) if hasattr(split, "all_rows") else rows
    return found


@dataclass(frozen=True, kw_only=True)
class Separated:
    """A ``column`` of which no value is on both sides of a split; or, if ``in_time``, no later one in training."""

    column: str
    in_time: bool = False
