"""The contracts of a bundle's columns, checked for the rows of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.serving.engine.encode import MOST_SHOWN, Array, Feeds, Refusals

_Mask = Callable[[Array], Array]


class _Rule(NamedTuple):
    """A rule of a column; ``is_violated`` returns for each of N values, [N], whether it violates it."""

    column: Column
    name: str
    text: str
    is_violated: _Mask


class Contracts:
    """What the inputs of a model have to be, besides their types. False if there are no rules.

    ``unique`` and a share of missing values say nothing about single rows, and are not checked here.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._rules = tuple(rule for column in columns for rule in _rules(column))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def check(self, feeds: Feeds, count: Callable[[str, str, int], object]) -> None:
        """Call ``count(column, rule, number of values)`` for each rule that is violated.

        Raises:
            BadRow: for the values of columns whose contracts refuse.
        """
        refused = Refusals()
        for rule in self._rules:
            bad = rule.is_violated(feeds[rule.column.name].reshape(-1))
            if bad.any():
                count(rule.column.name, rule.name, int(bad.sum()))
                if rule.column.on_violation == "refuse":
                    rows = np.flatnonzero(bad).tolist()
                    shown = (f"rows[{row}].{rule.column.name}: {rule.text}" for row in rows[:MOST_SHOWN])
                    refused.add(*shown, more=len(rows[MOST_SHOWN:]))
        refused.raise_any()


def _rules(column: Column) -> Iterator[_Rule]:
    if not column.has_contract:
        return
    from when_ml_pipeline_meets_hydra.ml.datasets.column_contracts import typed_limits, whole

    limits = {name: [_fed(v, column.dtype) for v in values] for name, values in typed_limits(column).items()}
    if "min" in limits:
        low = limits["min"][0]
        yield _Rule(column, "min", f"the value is below {column.min}", lambda x: x < low)
    if "max" in limits:
        high = limits["max"][0]
        yield _Rule(column, "max", f"the value is above {column.max}", lambda x: x > high)
    if "allowed" in limits:
        allowed = {*limits["allowed"], ""}
        shown = ", ".join(map(str, column.allowed or ()))
        yield _Rule(column, "allowed", f"the value is other than {shown}", _others(allowed))
    if column.pattern is not None:
        yield _Rule(column, "pattern", f"the text does not match '{column.pattern}'", _unlike(whole(column.pattern)))
    if column.max_missing == 0:
        yield _Rule(column, "max_missing", "a value is needed", _missing)


def _fed(value: Any, dtype: DType) -> Any:
    """A typed value as in the inputs of a graph."""
    if dtype is DType.BOOL:
        return str(value).lower()
    if dtype.is_time:
        return dates.days(value) if dtype is DType.DATE else dates.seconds(value)
    return value


def _missing(values: Array) -> Array:
    return np.array([v == "" or v != v for v in values.tolist()], dtype=bool)


def _others(allowed: set[Any]) -> _Mask:
    return lambda values: np.array([v == v and v not in allowed for v in values.tolist()], dtype=bool)


def _unlike(pattern: str) -> _Mask:
    # pydantic has the regular expressions of Polars, which checks the training data.
    text = TypeAdapter(Annotated[str, Field(pattern=pattern)])

    def is_unlike(value: str) -> bool:
        try:
            text.validate_python(value)
        except ValidationError:
            return value != ""
        return False

    return lambda values: np.array([is_unlike(v) for v in values.tolist()], dtype=bool)
