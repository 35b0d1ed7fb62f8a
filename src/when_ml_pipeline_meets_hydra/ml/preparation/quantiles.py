"""Exact quantiles of columns of any length, in two passes over the rows and with little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW

# Rows of the sample that bounds a quantile by two values; only values between them are kept, all others are counted.
SAMPLE_ROWS = 100_000
_DEVIATIONS = 5
VALUES_AT_ONCE = 20_000_000  # sampled values (8 bytes each) in a pass, over several columns


def quantiles(
    rows: pl.LazyFrame, count: int, values: Sequence[pl.Expr], shares: Sequence[float]
) -> list[list[float | None]]:
    """Return the quantiles ``shares`` of each of ``values``, expressions of the ``count`` rows; None without any value.

    Between two values they are interpolated linearly.
    """
    step = max(1, count // SAMPLE_ROWS)
    at_once = max(1, VALUES_AT_ONCE // max(1, count // step))
    made: list[list[float | None]] = []
    for start in range(0, len(values) if shares else 0, at_once):
        columns = {str(k): x for k, x in enumerate(values[start : start + at_once])}
        sample = rows.filter(pl.col(ROW) % step == 0).select(**columns).collect(engine="streaming")
        if step == 1:
            made += [[sample[k].quantile(q, "linear") for q in shares] for k in columns]
        else:
            made += _exact(rows, columns, sample, shares)
    return made or [[] for _ in values]


def _exact(
    rows: pl.LazyFrame, columns: Mapping[str, pl.Expr], sample: pl.DataFrame, shares: Sequence[float]
) -> Iterator[list[float | None]]:
    ends = {k: [_around(sample[k].drop_nulls().sort(), q) for q in shares] for k in columns}
    parts = {
        f"{k} {j} {n}": part
        for k, x in columns.items()
        for j, between in enumerate(ends[k])
        for n, part in enumerate(_parts(x, *between))
    }
    results = rows.select(**parts).collect(engine="streaming")
    for k, x in columns.items():
        own = []
        for j, (between, share) in enumerate(zip(ends[k], shares, strict=True)):
            value = _quantile([results[f"{k} {j} {n}"][0] for n in range(5)], between, share)
            if value is None:  # the sample is not representative, or there is no value
                value = rows.select(x.quantile(share, "linear")).collect(engine="streaming").item()
            own.append(value)
        yield own


def _around(sample: pl.Series, share: float) -> tuple[float, float]:
    """Two values between which a quantile of all values lies almost certainly."""
    if not len(sample):
        return 0.0, 0.0
    middle, width = share * (len(sample) - 1), _DEVIATIONS * math.sqrt(len(sample) * share * (1 - share)) + 1
    return sample[max(0, math.floor(middle - width))], sample[min(len(sample) - 1, math.ceil(middle + width))]


def _parts(x: pl.Expr, low: float, high: float) -> list[pl.Expr]:
    """The counts of values < ``low`` and = ``low``; the values in between; the counts of = ``high`` and > ``high``."""
    at_high = (x == high) if high > low else pl.lit(False)
    return [
        (x < low).sum(),
        (x == low).sum(),
        x.filter((x > low) & (x < high)).implode(),
        at_high.sum(),
        (x > high).sum(),
    ]


def _quantile(parts: Sequence[Any], between: tuple[float, float], share: float) -> float | None:
    """The quantile from the results of ``_parts``, or None if it is not within the two bounds."""
    below, at_low, inside, at_high, above = parts
    runs = ([between[0]], at_low), (inside.sort(), 1), ([between[1]], at_high)
    place = share * (below + at_low + len(inside) + at_high + above - 1)
    lower, upper = (_at(runs, rank - below) for rank in (math.floor(place), math.ceil(place)))
    return None if lower is None or upper is None else lower + (upper - lower) * (place - math.floor(place))


def _at(runs: Sequence[tuple[Sequence[float], int]], rank: int) -> float | None:
    """The value of a rank in sorted runs (values, and how often each occurs), or None beyond them."""
    for values, times in runs:
        if 0 <= rank < len(values) * times:
            return float(values[rank // times])
        rank -= len(values) * times
    return None
