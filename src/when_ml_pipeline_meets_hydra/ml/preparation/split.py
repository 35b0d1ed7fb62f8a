"""The split into training and held-out rows, by a seeded hash of the row's number, exact within each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, Table

LABEL, HASH, LAST = "label", "hash", "last"
_ODD, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BUCKETS = 4096


@dataclass(frozen=True, kw_only=True)
class Split:
    """The training and held-out rows of a table.

    A row of class k is held out if its hash is at most ``last[k]``; ``rows`` and ``held_out`` count all and the
    held-out rows of each class. Regression has one class of all rows, and no names in ``classes``.
    """

    labelled: pl.LazyFrame
    classes: tuple[str, ...]
    rows: tuple[int, ...]
    held_out: tuple[int, ...]
    last: tuple[int, ...]

    def train(self) -> pl.LazyFrame:
        """Return the training rows, in the order of the file."""
        return self._with_last().filter(pl.col(HASH) > pl.col(LAST)).drop(HASH, LAST)

    def sample(self, most: int) -> pl.LazyFrame:
        """Return about ``most`` of the training rows, or all if they are fewer; always the same ones."""
        every = max(1, -(-(sum(self.rows) - sum(self.held_out)) // most))
        kept = pl.col(HASH) % _u64(every) == 0
        return self._with_last().filter(pl.col(HASH) > pl.col(LAST), kept).drop(HASH, LAST)

    def test(self) -> pl.LazyFrame:
        """Return the held-out rows, in the order of the file."""
        return self._with_last().filter(pl.col(HASH) <= pl.col(LAST)).drop(HASH, LAST)

    def _with_last(self) -> pl.LazyFrame:
        if len(self.last) == 1:
            return self.labelled.with_columns(_u64(self.last[0]).alias(LAST))
        bounds = pl.LazyFrame(
            {LABEL: range(len(self.last)), LAST: self.last}, schema={LABEL: pl.Int64, LAST: pl.UInt64}
        )
        return self.labelled.join(bounds, on=LABEL, how="left", maintain_order="left")


def split(table: Table, fraction: float, seed: int) -> Split:
    """Hold out ``fraction`` of the rows that have a target, the same share of every class.

    A class with two rows or more has at least one training and one held-out row.
    """
    known = table.frame.filter(pl.col(TARGET).is_not_null())
    classes = class_names(table, known)
    labelled = known.with_columns(label(table.task, classes).alias(LABEL), _hash(pl.col(ROW), seed).alias(HASH))
    counts = _counts(labelled)
    rows = [sum(counts.get((k, b), 0) for b in range(_BUCKETS)) for k in range(max(1, len(classes)))]
    held_out = [_held_out(n, fraction) for n in rows]
    last = _last(labelled, counts, held_out)
    return Split(labelled=labelled, classes=classes, rows=tuple(rows), held_out=tuple(held_out), last=tuple(last))


def class_text() -> pl.Expr:
    """Return the target as the name of a class."""
    return pl.col(TARGET).cast(pl.String)


def class_names(table: Table, labelled: pl.LazyFrame) -> tuple[str, ...]:
    """Return the sorted classes of the target: numbers by value, texts by code point."""
    if table.task is Task.REGRESSION:
        return ()
    names = labelled.group_by(class_text().alias(TARGET)).len().collect(engine="streaming")[TARGET].to_list()
    numeric = table.target.dtype in (DType.INT, DType.FLOAT)
    return tuple(sorted(names, key=float if numeric else None))


def label(task: Task, classes: Sequence[str]) -> pl.Expr:
    """Return the index of a row's class; 0 for every row of a regression."""
    if task is Task.REGRESSION:
        return pl.lit(0, dtype=pl.Int64)
    return class_text().cast(pl.Enum(classes), strict=False).to_physical().cast(pl.Int64)


def _held_out(rows: int, fraction: float) -> int:
    return min(max(round(rows * fraction), 1), rows - 1) if rows > 1 else 0


def _hash(number: pl.Expr, seed: int) -> pl.Expr:
    """SplitMix64 of the number of a row (Steele, Lea and Flood, 2014): a bijection, so that all hashes differ.

    Written in integer arithmetic, which wraps, because Polars' own hash differs between its versions.
    """
    z = (number.cast(pl.UInt64) + _u64(1)) * _u64(_ODD) + _u64(_scrambled(seed))
    z = (z ^ (z // _u64(1 << 30))) * _u64(_FIRST)
    z = (z ^ (z // _u64(1 << 27))) * _u64(_SECOND)
    return z ^ (z // _u64(1 << 31))


def _scrambled(seed: int) -> int:
    # Otherwise seeds whose difference is a multiple of the step would have the same sequence, shifted.
    return (seed * _SECOND + _FIRST) % (1 << 64) ^ seed


def _u64(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)


def _bucket() -> pl.Expr:
    return pl.col(HASH) // _u64((1 << 64) // _BUCKETS)


def _counts(labelled: pl.LazyFrame) -> dict[tuple[int, int], int]:
    """The number of rows of each class and bucket of hashes; buckets are in the order of the hashes."""
    grouped = labelled.group_by(LABEL, _bucket().alias("bucket")).len().collect(engine="streaming")
    return {(k, b): n for k, b, n in grouped.select(LABEL, "bucket", "len").iter_rows()}


def _last(labelled: pl.LazyFrame, counts: dict[tuple[int, int], int], held_out: Sequence[int]) -> list[int]:
    """For each class the largest hash of a held-out row; only the bucket that contains it is read."""
    wanted = [_locate(counts, k, n) for k, n in enumerate(held_out)]
    places = pl.LazyFrame(
        {LABEL: range(len(wanted)), "bucket": [bucket for bucket, _ in wanted]},
        schema={LABEL: pl.Int64, "bucket": pl.UInt64},
    )
    inside = labelled.select(LABEL, HASH, _bucket().alias("bucket")).join(places, on=[LABEL, "bucket"], how="semi")
    hashes = inside.group_by(LABEL).agg(pl.col(HASH).sort()).collect(engine="streaming")
    by_class = dict(zip(hashes[LABEL].to_list(), hashes[HASH].to_list(), strict=True))
    return [by_class[k][rank - 1] if n else 0 for k, ((_, rank), n) in enumerate(zip(wanted, held_out, strict=True))]


def _locate(counts: dict[tuple[int, int], int], label: int, rank: int) -> tuple[int, int]:
    """The bucket of the ``rank``-th smallest hash of a class, and its rank inside this bucket."""
    for bucket in range(_BUCKETS):
        inside = counts.get((label, bucket), 0)
        if rank <= inside:
            return bucket, rank
        rank -= inside
    return 0, 0
