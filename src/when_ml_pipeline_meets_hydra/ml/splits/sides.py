"""The training and held-out rows of a table; random splits, by a seeded hash of the row's number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW, TARGET, Table
from when_ml_pipeline_meets_hydra.ml.splits.interface import HASH, HELD_OUT, RowSplit, SplitRows

LABEL = "label"
_FIRST_HASH, _LAST_HASH = "first", "last"
_ODD, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BUCKETS = 4096

Ranks = Callable[
    [int], tuple[int, int]
]  # number of rows → the rank before the first one held out, and that of the last


@dataclass(frozen=True, kw_only=True)
class Split:
    """The training and held-out rows of a table, and their numbers.

    ``labelled`` has the index of a row's class as ``label`` (0 for a regression, which has no ``classes``), and
    ``held_out``, which is null for rows in neither part.
    """

    labelled: pl.LazyFrame
    classes: tuple[str, ...]
    rows_train: int
    rows_test: int

    def train(self) -> pl.LazyFrame:
        """Return the training rows, in the order of the file."""
        return self._part(held_out=False)

    def sample(self, most: int) -> pl.LazyFrame:
        """Return about ``most`` of the training rows, or all if they are fewer; always the same ones."""
        every = max(1, -(-self.rows_train // most))
        return self._part(pl.col(HASH) % _u64(every) == 0, held_out=False)

    def test(self) -> pl.LazyFrame:
        """Return the held-out rows, in the order of the file."""
        return self._part(held_out=True)

    def _part(self, *conditions: pl.Expr, held_out: bool) -> pl.LazyFrame:
        side = pl.col(HELD_OUT) if held_out else ~pl.col(HELD_OUT)
        return self.labelled.filter(side, *conditions).drop(HASH, HELD_OUT)


def split(table: Table, how: RowSplit) -> Split:
    """Split the rows that have a target; a part may be empty. Raises ``StepFailed`` if they cannot be split."""
    known = table.frame.filter(pl.col(TARGET).is_not_null())
    classes = class_names(table, known)
    labelled = known.with_columns(label(table.task, classes).alias(LABEL))
    sides = how.held_out(SplitRows(frame=labelled, classes=classes, places=table.further))
    if HASH not in sides.collect_schema():
        sides = sides.with_columns(_hash(pl.col(ROW), 0).alias(HASH))
    counts = dict(sides.group_by(HELD_OUT).len().collect(engine="streaming").select(HELD_OUT, "len").iter_rows())
    return Split(labelled=sides, classes=classes, rows_train=counts.get(False, 0), rows_test=counts.get(True, 0))


def by_hash(labelled: pl.LazyFrame, seed: int, ranks: Ranks, *, stratified: bool = True) -> pl.LazyFrame:
    """Hold out the rows whose hashes have certain ranks, within each class if ``stratified``, otherwise among all."""
    kind = pl.col(LABEL) if stratified else pl.lit(0, dtype=pl.Int64)
    hashed = labelled.with_columns(_hash(pl.col(ROW), seed).alias(HASH))
    counts = _counts(hashed.with_columns(kind.alias(LABEL)))
    kinds = max((k for k, _ in counts), default=0) + 1
    rows = [sum(counts.get((k, b), 0) for b in range(_BUCKETS)) for k in range(kinds)]
    wanted = [ranks(number) for number in rows]
    places = [rank for low, high in wanted for rank in (low + 1, high)]
    found = _at_ranks(hashed.with_columns(kind.alias(LABEL)), counts, [(n // 2, rank) for n, rank in enumerate(places)])
    bounds = [(found[2 * k], found[2 * k + 1]) if low < high else (1, 0) for k, (low, high) in enumerate(wanted)]
    is_held_out = pl.col(HASH).is_between(pl.col(_FIRST_HASH), pl.col(_LAST_HASH))
    return _with_bounds(hashed, bounds).with_columns(is_held_out.alias(HELD_OUT)).drop(_FIRST_HASH, _LAST_HASH)


def part_of(rows: int, fraction: float) -> int:
    """Return how many of the rows of a class are held out: at least one, and not all."""
    return min(max(round(rows * fraction), 1), rows - 1) if rows > 1 else 0


def derived_seed(seed: int, number: int) -> int:
    """Return one of the seeds that belong to a seed; what they choose is independent of it."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {number}".encode(), digest_size=7).digest())


def _with_bounds(hashed: pl.LazyFrame, bounds: Sequence[tuple[int, int]]) -> pl.LazyFrame:
    if len(bounds) == 1:
        (first, last), *_ = bounds
        return hashed.with_columns(_u64(first).alias(_FIRST_HASH), _u64(last).alias(_LAST_HASH))
    columns = {
        LABEL: range(len(bounds)),
        _FIRST_HASH: [first for first, _ in bounds],
        _LAST_HASH: [last for _, last in bounds],
    }
    schema = {LABEL: pl.Int64, _FIRST_HASH: pl.UInt64, _LAST_HASH: pl.UInt64}
    return hashed.join(pl.LazyFrame(columns, schema=schema), on=LABEL, how="left", maintain_order="left")


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


def _at_ranks(
    labelled: pl.LazyFrame, counts: dict[tuple[int, int], int], ranks: Sequence[tuple[int, int]]
) -> list[int]:
    """The hashes with certain ranks, each of a class; only the buckets that contain them are read."""
    wanted = [(k, *_locate(counts, k, rank)) for k, rank in ranks]
    columns = {LABEL: [k for k, *_ in wanted], "bucket": [bucket for _, bucket, _ in wanted]}
    places = pl.LazyFrame(columns, schema={LABEL: pl.Int64, "bucket": pl.UInt64})
    inside = labelled.select(LABEL, HASH, _bucket().alias("bucket")).join(places, on=[LABEL, "bucket"], how="semi")
    hashes = inside.group_by(LABEL, "bucket").agg(pl.col(HASH).sort()).collect(engine="streaming")
    of_bucket = {(k, bucket): values for k, bucket, values in hashes.select(LABEL, "bucket", HASH).iter_rows()}
    return [_ranked(of_bucket.get((k, bucket), []), rank) for k, bucket, rank in wanted]


def _ranked(hashes: Sequence[int], rank: int) -> int:
    return hashes[rank - 1] if 0 < rank <= len(hashes) else 0


def _locate(counts: dict[tuple[int, int], int], label: int, rank: int) -> tuple[int, int]:
    """The bucket of the ``rank``-th smallest hash of a class, and its rank inside this bucket."""
    for bucket in range(_BUCKETS):
        inside = counts.get((label, bucket), 0)
        if rank <= inside:
            return bucket, rank
        rank -= inside
    return 0, 0
