"""How filters compare values of different types; a comparison with a missing value is false."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from when_ml_pipeline_meets_hydra.records.facts import MISSING

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Moment(NamedTuple):
    """A date or a time in a filter: from ``first`` on, up to before ``end``; a day without a time is all of it."""

    first: datetime
    end: datetime

    @classmethod
    def of(cls, text: str) -> Moment:
        """Return a day, ``2026-11-30``, or a time, ``2026-11-30T14:00``, in UTC if it names no zone.

        Raises ``ValueError`` for anything else.
        """
        first = datetime.fromisoformat(text)
        first = first if first.tzinfo else first.replace(tzinfo=UTC)
        return cls(first, first + timedelta(days=1 if _DAY.fullmatch(text) else 0, seconds=1))


def compare_values(left: Any, sign: str, right: Any) -> bool:
    """Compare two values by ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` or ``not in``.

    A text that is a number equals that number, and is compared with numbers as one; two texts are compared as texts,
    and values of other types have no order.
    """
    if left is MISSING or right is MISSING:
        return False
    if isinstance(right, Moment):
        return _compare_time(left, sign, right)
    if sign in ("==", "!="):
        return _equal(left, right) is (sign == "==")
    if sign in ("in", "not in"):
        found = _contains(right, left)
        return found is not None and found is (sign == "in")
    one, other = _comparable(left, right)
    return _is_ordered(one, other) and _ORDERS[sign](one, other)


def _compare_time(left: Any, sign: str, moment: Moment) -> bool:
    try:
        at = datetime.fromisoformat(left)
        if sign in ("==", "!="):
            return (moment.first <= at < moment.end) is (sign == "==")
        return _ORDERS[sign](at, moment.end - timedelta(microseconds=1) if sign in (">", "<=") else moment.first)
    except (TypeError, ValueError):
        return False


def _contains(container: Any, value: Any) -> bool | None:
    """Whether a list has an element, or a text a part; None if they are neither."""
    if isinstance(container, list | tuple):
        return any(_equal(element, value) for element in container)
    if isinstance(container, str) and isinstance(value, str):
        return value in container
    return None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    one, other = _comparable(one, other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _comparable(one: Any, other: Any) -> tuple[Any, Any]:
    if _is_number(one):
        return one, _as_number(other)
    return (_as_number(one), other) if _is_number(other) else (one, other)


def _is_ordered(one: Any, other: Any) -> bool:
    return (_is_number(one) and _is_number(other)) or (isinstance(one, str) and isinstance(other, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Any) -> Any:
    if not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return value
    return int(value) if value.lstrip("+-").isdigit() and len(value) < 1000 else float(value)
