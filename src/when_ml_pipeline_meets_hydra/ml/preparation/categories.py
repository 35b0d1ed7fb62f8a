"""The texts of each column that get a feature, counted on the training rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from when_ml_pipeline_meets_hydra.ml.datasets.table import column
from when_ml_pipeline_meets_hydra.ml.preparation.param import PreparationParam

# The limits that are not given. A column has as many categories as a byte can tell apart, beside unknown ones, and all
# of them at most so many values; each has these rows, and this share of all.
MOST, MOST_VALUES, FEWEST_ROWS, LEAST_SHARE = 254, 250_000_000, 2, 0.0001
# The same, beyond so many values, for models that take each category as a feature.
MOST_ALONE, LEAST_SHARE_ALONE, MOST_VALUES_ALONE = 30, 0.005, 5_000_000
# Up to this many values are read at once and counted column by column, which is fast for many columns; of more rows,
# each column is counted in streams.
VALUES_AT_ONCE, FEWEST_COLUMNS = 4_000_000, 8
# Beyond this many different texts, rare ones are filtered out before the others are counted exactly.
TEXTS_AT_ONCE = 200_000
_BUCKETS = 65_536


def text(name: str) -> pl.Expr:
    """Return a column as texts: a missing value is empty, a boolean is ``true`` or ``false``."""
    return pl.col(name).cast(pl.String).fill_null("")


@dataclass(frozen=True, kw_only=True)
class Category:
    """A text column, one-hot encoded: a feature for each of ``values``, sorted ("": missing); others are 0 in all.

    Models that take each category as a feature of its own get no ``rare`` one. Of a very large table there may be
    ``more`` texts that are frequent enough.
    """

    index: int
    values: tuple[str, ...]
    rare: frozenset[str] = frozenset()
    more: int = 0


def categories(train: pl.LazyFrame, indices: Sequence[int], rows: int, param: PreparationParam) -> list[Category]:
    """Return the categories of each text column; none is rare if all of them together are few."""
    found = list(_found(train, indices, rows, param))
    if rows * sum(len(one.values) for one in found) > MOST_VALUES_ALONE:
        return found
    return [replace(one, rare=frozenset()) for one in found]


def _found(train: pl.LazyFrame, indices: Sequence[int], rows: int, param: PreparationParam) -> Iterator[Category]:
    most, most_alone = most_categories(param, rows, len(indices))
    fewest, fewest_alone = fewest_rows(param, rows)
    at_once = VALUES_AT_ONCE // max(1, rows)
    few = at_once < min(FEWEST_COLUMNS, len(indices))
    counts = _streamed(train, indices, fewest) if few else _collected(train, indices, at_once)
    for k, counted in counts:
        if counted.height > most_alone and counted["len"].max() == 1:
            yield Category(index=k, values=())  # all different, as names and numbers of things are
            continue
        known = counted.filter(pl.col("len") >= fewest)
        top = sorted(known.iter_rows(), key=lambda row: (-row[1], row[0]))[:most]
        rare = {value for place, (value, count) in enumerate(top) if place >= most_alone or count < fewest_alone}
        more = known.height - most if param.max_categories is None and most < MOST else 0
        values = tuple(sorted(value for value, _ in top))
        yield Category(index=k, values=values, rare=frozenset(rare), more=max(0, more))


def most_categories(param: PreparationParam, rows: int, columns: int) -> tuple[int, int]:
    """Return the most categories of each of the text ``columns``, and the most that are features for all models."""
    room = max(MOST_ALONE, min(MOST, MOST_VALUES // max(1, rows * columns)))
    return param.max_categories or room, param.max_categories or MOST_ALONE


def fewest_rows(param: PreparationParam, rows: int) -> tuple[int, int]:
    """Return the fewest rows of a category, and the fewest of one that is a feature for all models."""
    alone = _rows_of(param.min_frequency or LEAST_SHARE_ALONE, rows)
    return alone if param.min_frequency else min(alone, max(FEWEST_ROWS, _rows_of(LEAST_SHARE, rows))), alone


def _rows_of(share: float, rows: int) -> int:
    return max(1, math.ceil(rows * share))


def _collected(train: pl.LazyFrame, indices: Sequence[int], at_once: int) -> Iterator[tuple[int, pl.DataFrame]]:
    for start in range(0, len(indices), at_once):
        group = indices[start : start + at_once]
        read = train.select(text(column(k)).alias(str(k)) for k in group).collect(engine="streaming")
        yield from ((k, read[str(k)].alias("text").value_counts(name="len")) for k in group)


def _streamed(train: pl.LazyFrame, indices: Sequence[int], fewest: int) -> Iterator[tuple[int, pl.DataFrame]]:
    if not indices:
        return
    distinct = train.select(pl.col(column(k)).approx_n_unique() for k in indices).collect(engine="streaming").row(0)
    for group in _passes(indices, distinct):
        queries = []
        for k, n_distinct in group:
            values = train.select(text(column(k)).alias("text"))
            frequent = values if n_distinct <= TEXTS_AT_ONCE else _without_rare(values, fewest)
            queries.append(frequent.group_by("text").len().filter(pl.col("len") >= fewest))
        counted = pl.collect_all(queries, engine="streaming")
        yield from ((k, found) for (k, _), found in zip(group, counted, strict=True))


def _passes(indices: Sequence[int], distinct: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Groups of columns, each with its number of different texts, that are counted in one pass over the rows."""
    group: list[tuple[int, int]] = []
    for k, n_distinct in zip(indices, distinct, strict=True):
        if group and sum(n for _, n in group) + n_distinct > TEXTS_AT_ONCE:
            yield group
            group = []
        group.append((k, n_distinct))
    yield group


def _without_rare(values: pl.LazyFrame, fewest: int) -> pl.LazyFrame:
    """Drop texts with rare hashes, so that counting a column of identifiers needs little memory."""
    bucket = (pl.col("text").hash() % _BUCKETS).alias("bucket")
    large = values.group_by(bucket).len().filter(pl.col("len") >= fewest).select("bucket").collect(engine="streaming")
    return values.with_columns(bucket).join(large.lazy(), on="bucket", how="semi").select("text")
