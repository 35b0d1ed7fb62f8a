"""Which of two classes a row gets, by a threshold; chosen by out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, StepFailed, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Decision
from when_ml_pipeline_meets_hydra.ml.thresholds.interface import Counts, Threshold

if TYPE_CHECKING:
    import numpy as np

    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions

    Array = np.ndarray[Any, Any]

KEY = "threshold"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Predictions for N rows whose ``target`` is known: indices of classes, [N]; ``weights``: of the rows, if any.

    ``numbers``, [N], tell which rows of different parts are the same; None: none are.
    """

    target: Array
    predicted: Predictions
    weights: Array | None = None
    numbers: Array | None = None


def threshold_problems(threshold: Threshold, classes: Sequence[str]) -> Iterator[Problem]:
    """Yield what keeps a threshold from being one for ``classes``; none: the target is numeric."""
    positive = getattr(threshold, "positive", None)
    if not threshold.is_wanted:
        return
    if len(classes) != 2:
        has = f"{len(classes)} classes" if classes else "numbers"
        remedy = "Leave it out, or write modeling/threshold=none"
        yield Problem(key=KEY, message=f"a threshold is for two classes, and the target has {has}", remedy=remedy)
    elif positive is not None and positive not in classes:
        remedy = did_you_mean(positive, classes) or f"The classes are {' and '.join(classes)}"
        yield Problem(key=f"{KEY}.positive", value=positive, message="the target has no such class", remedy=remedy)


def given(threshold: Threshold, classes: Sequence[str]) -> Decision | None:
    """Return the decision by a threshold that is given; None if there is none, or if it is to be chosen."""
    if not threshold.is_wanted or threshold.is_chosen:
        return None
    return _decision(threshold, classes, float(threshold.value))  # type: ignore[attr-defined]


def chosen(threshold: Threshold, classes: Sequence[str], parts: Sequence[Scored]) -> Decision:
    """Return the decision that is best on parts of out-of-fold predictions.

    Raises:
        BadInput: there are not two classes, or none of them is the positive one.
        StepFailed: all rows are of the same class.
    """
    import numpy as np

    decision = _decision(threshold, classes, 0.5)
    is_positive = np.concatenate([part.target for part in parts]) == decision.positive
    if is_positive.all() or not is_positive.any():
        raise StepFailed("A threshold cannot be chosen: all rows that are held out for it are of the same class")
    probabilities = np.concatenate([_of_positive(part.predicted, decision) for part in parts])
    weighted = any(part.weights is not None for part in parts)
    weights = np.concatenate([_weights(part) for part in parts]) if weighted else None
    value = threshold.choose(Counts.of(is_positive, probabilities, weights))
    return replace(decision, threshold=float(np.float32(value)))


def cross_fitted(threshold: Threshold, classes: Sequence[str], parts: Sequence[Scored]) -> list[Predictions]:
    """Return the predictions of each part, by the threshold that is best on the other ones.

    So no threshold is measured on rows by which it was chosen, also where folds are repeated. One part alone is halved.
    """
    import numpy as np

    if threshold.is_wanted and not threshold.is_chosen:
        decision = _decision(threshold, classes, float(threshold.value))  # type: ignore[attr-defined]
        return [decided(part.predicted, decision) for part in parts]
    if len(parts) == 1:
        (whole,) = parts
        halves = np.arange(len(whole.target)) % 2
        first, second = (_rows(whole, np.flatnonzero(halves == half)) for half in (0, 1))
        values = np.empty_like(whole.predicted.values)
        for half, (own, other) in enumerate(((first, second), (second, first))):
            values[halves == half] = decided(own.predicted, chosen(threshold, classes, [other])).values
        return [replace(whole.predicted, values=values)]
    others = ([_without(other, part) for other in parts if other is not part] for part in parts)
    return [
        decided(part.predicted, chosen(threshold, classes, other)) for part, other in zip(parts, others, strict=True)
    ]


def decided(predicted: Predictions, decision: Decision | None) -> Predictions:
    """Return predictions of two classes with the classes that a decision gives them."""
    import numpy as np

    if decision is None:
        return predicted
    # The graph compares 32-bit floats.
    is_positive = _of_positive(predicted, decision).astype(np.float32) >= np.float32(decision.threshold)
    return replace(predicted, values=np.where(is_positive, decision.positive, 1 - decision.positive))


def described(decision: Decision, classes: Sequence[str]) -> str:
    """Return a decision in words."""
    return f"{classes[decision.positive]} from a probability of {decision.threshold:.4g} on"


def _decision(threshold: Threshold, classes: Sequence[str], value: float) -> Decision:
    import numpy as np

    if problems := list(threshold_problems(threshold, classes)):
        raise BadInput(*problems)
    positive = getattr(threshold, "positive", None)
    return Decision(positive=1 if positive is None else classes.index(positive), threshold=float(np.float32(value)))


def _of_positive(predicted: Predictions, decision: Decision) -> Array:
    assert predicted.probabilities is not None, "classes have probabilities"
    of_positive: Array = predicted.probabilities[:, decision.positive]
    return of_positive


def _weights(part: Scored) -> Array:
    import numpy as np

    return np.ones(len(part.target)) if part.weights is None else part.weights


def _without(part: Scored, other: Scored) -> Scored:
    """A part without the rows that are in the other one as well."""
    import numpy as np

    if part.numbers is None or other.numbers is None:
        return part
    return _rows(part, np.flatnonzero(~np.isin(part.numbers, other.numbers)))


def _rows(part: Scored, rows: Array) -> Scored:
    probabilities = None if part.predicted.probabilities is None else part.predicted.probabilities[rows]
    return Scored(
        target=part.target[rows],
        predicted=replace(part.predicted, values=part.predicted.values[rows], probabilities=probabilities),
        weights=None if part.weights is None else part.weights[rows],
        numbers=None if part.numbers is None else part.numbers[rows],
    )
