"""The importance of the drawn values, by PED-ANOVA: where do the best trials lie, compared with all of them?

S. Watanabe et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces, IJCAI 2023,
arXiv:2304.10255; values that are not always drawn as in Conditional PED-ANOVA, arXiv:2601.20800. The numbers are those
of ``optuna.importance.PedAnovaImportanceEvaluator`` and need no package, so that every sampler has them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from when_ml_pipeline_meets_hydra.searching.space import Dimension, Value, Values

FEWEST = 10  # trials with a score; of fewer, nothing can be said
_BEST, _FEWEST_BEST = 0.1, 5  # the share of trials that count as the best ones, and their number
_CELLS = 50  # of an interval
_SMALLEST = 1e-12

Point = tuple[Values, float]  # the drawn values (key → value) and the score


def importance_of(dimensions: Sequence[Dimension], points: Sequence[Point]) -> dict[str, float]:
    """Return the importance of each key, largest first, in all 1; empty if there are too few trials to tell.

    ``points`` are the trials with a score, of which larger ones are better.
    """
    if len(points) < FEWEST:
        return {}
    least = sorted((score for _, score in points), reverse=True)[_number_of_best(len(points)) - 1]
    best = [values for values, score in points if score >= least]
    everything = [values for values, _ in points]
    found = {d.key: _weighted_divergence(d, best, everything) for d in dimensions}
    total = sum(found.values())
    shares = {key: value / total for key, value in found.items()} if total > _SMALLEST else {}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def share_of_best(count: int) -> float:
    """Return the share of the trials that count as the best ones."""
    return min(max(_BEST, _FEWEST_BEST / count), 0.5)


def _number_of_best(count: int) -> int:
    return math.ceil(share_of_best(count) * count)


def _weighted_divergence(dimension: Dimension, best: Sequence[Values], everything: Sequence[Values]) -> float:
    key = dimension.key
    of_best = [values[key] for values in best if key in values]
    of_all = [values[key] for values in everything if key in values]
    if not of_best or len(of_all) < 2 or _size(dimension) < 2:
        return 0.0
    weight = (len(of_best) / len(best)) ** 2 / (len(of_all) / len(everything))
    top, local = (_density(dimension, values) for values in (of_best, of_all))
    return weight * sum(q * (p / q - 1) ** 2 for p, q in zip(top, local, strict=True))


def _size(dimension: Dimension) -> int:
    """The number of cells of a dimension."""
    if dimension.values:
        return len(dimension.values)
    if dimension.is_log and dimension.is_whole:
        return min(math.ceil(math.log2(dimension.high - dimension.low + 1)) + 1, _CELLS)
    return min(dimension.count or _CELLS, _CELLS) if dimension.high > dimension.low else 1


def _density(dimension: Dimension, values: Sequence[Value]) -> list[float]:
    """The probability of each cell, estimated from the values with one more of equal probability."""
    size = _size(dimension)
    counts = Counter(_cell(dimension, value, size) for value in values)
    found = _of_options(counts, size) if dimension.values else _of_numbers(counts, size)
    return [probability + _SMALLEST for probability in found]


def _cell(dimension: Dimension, value: Value, size: int) -> int:
    if dimension.values:
        return dimension.values.index(str(value))
    low, high, x = (math.log(n) if dimension.is_log else n for n in (dimension.low, dimension.high, float(value)))
    return min(max(math.ceil((x - low) / ((high - low) / (size - 1)) - 0.5), 0), size - 1)


def _of_options(counts: Mapping[int, int], size: int) -> list[float]:
    prior = 1 / (len(counts) + 1)  # of each option, in each kernel
    total = sum(counts.values()) + 1
    kernel = 1 + size * prior
    shared = sum(count * prior / kernel for count in counts.values()) + 1 / size
    return [(shared + counts.get(cell, 0) / kernel) / total for cell in range(size)]


def _of_numbers(counts: Mapping[int, int], size: int) -> list[float]:
    """A mixture of normal distributions around the cells, as wide as Scott's rule says."""
    cells = sorted(counts)
    width = _width(cells, counts)
    kernels = [(float(cell), width, counts[cell]) for cell in cells]
    kernels.append(((size - 1) / 2, float(size), 1))
    total = sum(weight for _, _, weight in kernels)
    found = [0.0] * size
    for middle, width, weight in kernels:
        ends = [math.erf((edge - 0.5 - middle) / (width * math.sqrt(2))) for edge in range(size + 1)]
        for cell in range(size):
            found[cell] += weight / total * (ends[cell + 1] - ends[cell]) / (ends[-1] - ends[0])
    return found


def _width(cells: Sequence[int], counts: Mapping[int, int]) -> float:
    total = sum(counts.values())
    mean = sum(cell * counts[cell] for cell in cells) / total
    deviation = math.sqrt(sum(counts[cell] * (cell - mean) ** 2 for cell in cells) / max(1, total - 1))
    sums = [sum(counts[c] for c in cells[: place + 1]) for place in range(len(cells))]
    first = next(n for n, s in enumerate(sums) if s >= total // 4)
    third = next((n for n, s in enumerate(sums) if s > total * 3 // 4), len(cells) - 1)
    spread = cells[third] - cells[first]
    return max(1.059 * min(spread / 1.34, deviation) * math.pow(total, -0.2), 0.5 / 1.64)
