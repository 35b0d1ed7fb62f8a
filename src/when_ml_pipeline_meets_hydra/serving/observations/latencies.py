"""Histograms of request times that can be added up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

FIRST, STEP, COUNT = 20e-6, 1.2, 90  # s; each bucket is 1.2 times as wide as the previous, the last ends at 4 min
EMPTY = (0,) * COUNT

Buckets = tuple[int, ...]


def histogram(seconds: Iterable[float]) -> Buckets:
    """Return the number of times in each bucket; shorter and longer ones count in the first and the last."""
    counts = [0] * COUNT
    for time in seconds:
        place = math.log(time / FIRST, STEP) if time > FIRST else 0.0
        counts[min(int(place), COUNT - 1)] += 1
    return tuple(counts)


def merged(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Return the sum of two histograms with the same buckets."""
    return tuple(a + b for a, b in zip(first, second, strict=True))


def quantile(counts: Buckets, q: float) -> float | None:
    """Return the ``q`` quantile of the times in s, within a tenth of it; None if there are no requests."""
    total = sum(counts)
    if not total:
        return None
    wanted = q * total
    for place, below in enumerate(accumulate(counts)):
        if below >= wanted and counts[place]:
            inside = 1 - (below - wanted) / counts[place]
            return float(FIRST * STEP ** (place + inside))
    raise AssertionError("the last bucket is below none")
