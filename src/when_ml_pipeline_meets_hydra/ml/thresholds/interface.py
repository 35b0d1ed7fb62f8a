"""The Protocol of thresholds, and what predictions cost at each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import Field

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Positive = Annotated[
    str | None, Field(min_length=1, description="The class that the threshold is for; null: the second one")
]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The (weighted) numbers of rows at each of T ``thresholds``, which fall: ``hits`` and ``false_alarms``, [T].

    ``hits`` are the positive rows at or above a threshold, ``false_alarms`` the other ones; ``positives`` are all
    positive rows.
    """

    thresholds: Array
    hits: Array
    false_alarms: Array
    positives: float

    @classmethod
    def of(cls, is_positive: Array, probabilities: Array, weights: Array | None = None) -> Counts:
        """Count at the thresholds halfway between neighbouring probabilities, beyond all and below all: 32-bit floats.

        Args:
            is_positive: whether a row is of the positive class, [N].
            probabilities: those of the positive class, [N].
            weights: of the rows, [N]; None: all count the same.
        """
        import numpy as np

        weight = np.ones(len(is_positive)) if weights is None else weights
        order = np.argsort(-probabilities, kind="stable")
        falling = probabilities[order]
        ends = np.flatnonzero(np.append(np.diff(falling) < 0, True))
        hits = np.cumsum(np.where(is_positive, weight, 0.0)[order])[ends]
        false_alarms = np.cumsum(np.where(is_positive, 0.0, weight)[order])[ends]
        values = np.concatenate(([1.0], falling[ends], [0.0])).astype(np.float32)
        halfway = (values[:-1] + values[1:]) / 2
        # Between neighbours there may be no 32-bit float.
        halfway = np.where(halfway > values[1:], halfway, values[:-1])
        # At the first one no row is positive, unless a probability is 1.
        first = 1 if falling[0] >= 1 else 0
        return cls(
            thresholds=halfway[first:],
            hits=np.append(0.0, hits)[first:],
            false_alarms=np.append(0.0, false_alarms)[first:],
            positives=float(hits[-1]),
        )


@runtime_checkable
class Threshold(Protocol):
    """Says from which probability on a row gets the positive class, where there are two.

    The attribute ``positive`` is the name of that class, or None for the second one. A threshold that is known
    beforehand (``is_wanted`` without ``is_chosen``) is the attribute ``value``.
    """

    @property
    def is_wanted(self) -> bool:
        """Whether there is a threshold; without one a row gets the more probable class."""

    @property
    def is_chosen(self) -> bool:
        """Whether it is chosen by predictions for rows that the model was not trained on."""

    def choose(self, counts: Counts) -> float:
        """Return the threshold that is best by the counts of such predictions."""
