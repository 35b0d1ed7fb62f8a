"""How the values of a column spread over bins that are fixed once, so that later values are counted in the same."""

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

BINS = 10  # of numbers, about equally full
MOST_VALUES = 20  # of texts that have a bin of their own,
LEAST_PART = 0.01  # and the least part of all texts that such a value is


@frozen
class Distribution:
    """How many values lie in each bin, and how many are missing.

    Of numbers a bin goes up to its edge, which it includes, the last one has none. Of texts a bin is one of ``values``,
    the last is for all others.
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
        """What to call the bins, the missing values last."""
        if self.values is not None:
            return (*self.values, "others", "missing")
        edges = [f"{edge:.4g}" for edge in self.edges or ()]
        return (*(f"≤ {edge}" for edge in edges), f"> {edges[-1]}" if edges else "any", "missing")

    def __add__(self, other: Distribution) -> Distribution:
        """Both together; they have the same bins."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return replace(self, counts=counts, missing=self.missing + other.missing)

    def none(self) -> Distribution:
        """No values in the same bins."""
        return replace(self, counts=(0,) * len(self.counts), missing=0)

    def of(self, values: Array) -> Distribution:
        """``values`` (numbers, NaN: missing; or texts, "": missing) in the same bins."""
        import numpy as np

        flat = values.reshape(-1)
        if self.edges is not None:
            known = flat[~np.isnan(flat)]
            places = np.searchsorted(np.array(self.edges), known)
            counts = tuple(np.bincount(places, minlength=len(self.counts)).tolist())
            return replace(self, counts=counts, missing=len(flat) - len(known))
        found = Counter(flat.tolist())
        missing = found.pop("", 0)
        named = [found.pop(value, 0) for value in self.values or ()]
        return replace(self, counts=(*named, found.total()), missing=missing)


def of_numbers(values: Array) -> Distribution:
    """The distribution of numbers (NaN: missing) over bins that they fill about equally."""
    import numpy as np

    flat = np.asarray(values, dtype=float).reshape(-1)
    known = flat[np.isfinite(flat)]
    parts = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(known, parts, method="inverted_cdf")).tolist() if len(known) else []
    return Distribution(edges=tuple(edges), counts=(0,) * (len(edges) + 1)).of(flat)


def of_texts(values: Array) -> Distribution:
    """The distribution of texts ("": missing) over those that occur most often."""
    flat = values.reshape(-1)
    found = Counter(flat.tolist())
    del found[""]
    often = sorted(
        ((n, v) for v, n in found.items() if n >= LEAST_PART * len(flat)), key=lambda pair: (-pair[0], pair[1])
    )
    named = tuple(value for _, value in often[:MOST_VALUES])
    return Distribution(values=named, counts=(0,) * (len(named) + 1)).of(flat)


@frozen
class Summary:
    """How the values of each raw column spread in training, and those of the predictions on held-out rows."""

    columns: Mapping[str, Distribution]
    prediction: Distribution | None = None
