"""Times that requests took, as numbers in buckets that can be added up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

FIRST, STEP, MANY = 20e-6, 1.2, 90  # s; a bucket is a fifth wider than the one before it, the last ends at 4 minutes
NONE = (0,) * MANY

Buckets = tuple[int, ...]


def bucketed(seconds: Iterable[float]) -> Buckets:
    """How many times lie in each bucket; shorter and longer ones are in the first and the last."""
    counts = [0] * MANY
    for time in seconds:
        place = math.log(time / FIRST, STEP) if time > FIRST else 0.0
        counts[min(int(place), MANY - 1)] += 1
    return tuple(counts)


def added(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The sums of two histograms of the same buckets."""
    return tuple(a + b for a, b in zip(first, second, strict=True))


def quantile(counts: Buckets, part: float) -> float | None:
    """The time (in s) that ``part`` of the requests stayed below, to a tenth of it; None where there are none."""
    total = sum(counts)
    if not total:
        return None
    wanted = part * total
    for place, below in enumerate(accumulate(counts)):
        if below >= wanted and counts[place]:
            inside = 1 - (below - wanted) / counts[place]
            return float(FIRST * STEP ** (place + inside))
    raise AssertionError("the last bucket is below none")
