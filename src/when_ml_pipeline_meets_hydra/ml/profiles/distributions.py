"""Distributions of a column's values over fixed bins, so that later values are counted in the same bins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

BINS = 10  # of numbers, with about equal counts
MOST_VALUES = 20  # texts with a bin of their own
LEAST_PART = 0.01  # smallest share of all texts for a bin of its own


@frozen
class Distribution:
    """The counts of values in each bin, and of missing values.

    A bin of numbers includes its upper edge; the last one has none. A bin of texts is one of ``values``; the last one
    is for all others.
    """

    edges: tuple[float, ...] | None = None
    values: tuple[str, ...] | None = None
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    missing: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        bins = self.edges if self.edges is not None else self.values
        if (self.edges is None) == (self.values is None) or len(self.counts) != len(bins or ()) + 1:
            raise ValueError("expected either edges or values, and one count more than those")

    @property
    def total(self) -> int:
        """Number of values, the missing ones included."""
        return sum(self.counts) + self.missing

    @property
    def names(self) -> tuple[str, ...]:
        """Labels of the bins, the missing values last."""
        if self.values is not None:
            return (*self.values, "others", "missing")
        edges = [f"{edge:.4g}" for edge in self.edges or ()]
        return (*(f"≤ {edge}" for edge in edges), f"> {edges[-1]}" if edges else "any", "missing")

    def __add__(self, other: Distribution) -> Distribution:
        """Add the counts of a distribution with the same bins."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return replace(self, counts=counts, missing=self.missing + other.missing)

    def empty(self) -> Distribution:
        """Return the same bins without values."""
        return replace(self, counts=(0,) * len(self.counts), missing=0)

    def count(self, values: Array) -> Distribution:
        """Return the counts of ``values`` (numbers, NaN: missing; or texts, "": missing) in the same bins."""
        import numpy as np

        flat = values.reshape(-1)
        if self.edges is not None:
            known = flat[~np.isnan(flat)]
            places = np.searchsorted(np.array(self.edges), known)
            counts = tuple(np.bincount(places, minlength=len(self.counts)).tolist())
            return replace(self, counts=counts, missing=len(flat) - len(known))
        rest = Counter(flat.tolist())
        missing = rest.pop("", 0)
        named = [rest.pop(value, 0) for value in self.values or ()]
        return replace(self, counts=(*named, rest.total()), missing=missing)


def of_numbers(values: Array) -> Distribution:
    """Return the distribution of numbers (NaN: missing) over bins with about equal counts."""
    import numpy as np

    flat = np.asarray(values, dtype=float).reshape(-1)
    known = flat[np.isfinite(flat)]
    parts = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(known, parts, method="inverted_cdf")).tolist() if len(known) else []
    return Distribution(edges=tuple(edges), counts=(0,) * (len(edges) + 1)).count(flat)


def of_texts(values: Array) -> Distribution:
    """Return the distribution of texts ("": missing) over the most frequent ones."""
    flat = values.reshape(-1)
    counted = Counter(flat.tolist())
    del counted[""]
    frequent = sorted(
        ((n, v) for v, n in counted.items() if n >= LEAST_PART * len(flat)), key=lambda pair: (-pair[0], pair[1])
    )
    named = tuple(value for _, value in frequent[:MOST_VALUES])
    return Distribution(values=named, counts=(0,) * (len(named) + 1)).count(flat)


@frozen
class Summary:
    """The distributions of each raw column in training, and of the predictions for held-out rows."""

    columns: Mapping[str, Distribution]
    prediction: Distribution | None = None
