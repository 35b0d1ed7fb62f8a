"""The weights of rows in training: those of the data, times those of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Task
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Remote

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

KEY = "class_weight"
_Weight = Annotated[float, Field(gt=0, le=1e9)]
#: Weights of classes by name; ``balanced``: all classes count the same in total.
ClassWeight = Literal["balanced"] | Mapping[str, _Weight]


def row_weights(
    target: Array, classes: Sequence[str], weights: Array | None, class_weight: ClassWeight | None
) -> Array | None:
    """Return the weights of the rows in training, float64 [N] with mean 1; None if all count the same.

    Args:
        target: [N], indices of ``classes``, or numbers.
        classes: the names of the classes; none for a regression.
        weights: those of the data, positive, [N], if there are any.
        class_weight: the weights of the classes; one that is not named has the weight 1.

    Raises:
        BadInput: ``class_weight`` names a class that is not there, or the target is numeric.
    """
    import numpy as np

    if class_weight is not None and (problems := list(class_problems(class_weight, classes))):
        raise BadInput(*problems)
    if class_weight is None and weights is None:
        return None
    made: Array = np.ones(len(target)) if weights is None else weights.astype(np.float64)
    if class_weight == "balanced":
        totals = np.bincount(target, weights=made, minlength=len(classes))
        made /= np.where(totals > 0, totals, 1)[target]
    elif class_weight is not None:
        made *= np.array([class_weight.get(name, 1.0) for name in classes])[target]
    made /= made.mean()
    return made


def class_problems(class_weight: ClassWeight, classes: Sequence[str]) -> Iterator[Problem]:
    """Yield what keeps weights from being those of ``classes``; none: the target is numeric."""
    if not classes:
        remedy = "Leave it out, or write dataset.task=classification"
        yield Problem(key=KEY, message="the target holds numbers, which have no classes", remedy=remedy)
    elif class_weight != "balanced":
        for name in class_weight.keys() - {*classes}:
            shown = ", ".join(classes[:20])
            near = did_you_mean(name, classes)
            remedy = f"The classes are {shown}{'…' if len(classes) > 20 else ''}" if near is None else near
            yield Problem(key=f"{KEY}.{name}", message="the target has no such class", remedy=remedy)


def classes_of(dataset: Any) -> tuple[str, ...] | None:
    """Return the classes of a data set's target, () if it is numeric; None if only a server knows."""
    if dataset is None or isinstance(dataset, Remote):
        return None
    try:
        return _read(dataset)
    except TypeError:  # a data set without a hash
        return _read.__wrapped__(dataset)


@lru_cache(maxsize=8)
def _read(dataset: Any) -> tuple[str, ...] | None:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.datasets.table import TARGET, table
    from when_ml_pipeline_meets_hydra.ml.splits.sides import class_names

    try:
        made = table(dataset.rows())
    except BadInput:  # reported by the data set itself
        return None
    return (
        class_names(made, made.frame.filter(pl.col(TARGET).is_not_null())) if made.task is Task.CLASSIFICATION else ()
    )
