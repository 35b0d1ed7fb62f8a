"""Typed trees of the parts of an expression; what does not fit together is refused."""

from __future__ import annotations

from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import DAY
from when_ml_pipeline_meets_hydra.ml.expressions.tree import Node, Op

KINDS = {DType.FLOAT: "a number", DType.BOOL: "a condition", DType.STRING: "a text"}
KINDS |= {DType.DATE: "a date", DType.DATETIME: "a timestamp"}


class Refused(ValueError):
    """An expression that cannot be used, and what can be instead."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def number(value: float, dtype: DType = DType.FLOAT) -> Node:
    """Return a constant number."""
    return Node(op=Op.NUMBER, dtype=dtype, value=value)


def text(value: str) -> Node:
    """Return a constant text; the empty one is a missing value, as it is in the data."""
    return Node(op=Op.TEXT if value else Op.MISSING, dtype=DType.STRING, value=value or None)


def moment(value: str, dtype: DType) -> Node:
    """Return a constant date or timestamp. Raises ``Refused`` if the text is none."""
    found = dates.parse(value, None)
    if found is None:
        wanted = "2026-01-31" if dtype is DType.DATE else "2026-01-31 13:45:00"
        raise Refused(f"'{value}' is not {KINDS[dtype]}", f"Write it like '{wanted}'")
    return number(dates.days(found.date()) if dtype is DType.DATE else dates.seconds(found), dtype)


def negation(value: Node) -> Node:
    """Return NOT of a condition."""
    return Node(op=Op.NOT, dtype=DType.BOOL, args=(value,))


def choice(condition: Node, yes: Node, no: Node) -> Node:
    """Return ``yes`` where the condition is true, otherwise ``no``."""
    yes, no = alike(yes, no, "CASE")
    return Node(op=Op.IF, dtype=yes.dtype, args=(wanted(condition, DType.BOOL, "WHEN"), yes, no))


def coalesced(first: Node, second: Node) -> Node:
    """Return the first of two values that is not missing."""
    first, second = alike(first, second, "COALESCE")
    return Node(op=Op.COALESCE, dtype=first.dtype, args=(first, second))


def apply(op: Op, *args: Node) -> Node:
    """Return an arithmetic operation."""
    return Node(op=op, dtype=DType.FLOAT, args=args)


def logical(op: Op, left: Node, right: Node) -> Node:
    """Return AND or OR of two conditions."""
    args = wanted(left, DType.BOOL, op.upper()), wanted(right, DType.BOOL, op.upper())
    return Node(op=op, dtype=DType.BOOL, args=args)


def equal(left: Node, right: Node) -> Node:
    """Return whether two values are equal."""
    left, right = alike(left, right, "a comparison")
    if left.dtype is not DType.BOOL:
        return Node(op=Op.EQUAL, dtype=DType.BOOL, args=(left, right))
    both = logical(Op.AND, left, right), logical(Op.AND, negation(left), negation(right))
    return logical(Op.OR, *both)


def ordered(op: Op, left: Node, right: Node) -> Node:
    """Return whether a number or date comes before another one."""
    left, right = alike(left, right, "a comparison")
    if left.dtype in (DType.STRING, DType.BOOL):
        raise Refused(f"{KINDS[left.dtype]} has no order: < and > are for numbers and dates", "Compare it by = or <>")
    return Node(op=op, dtype=DType.BOOL, args=(left, right))


def alike(left: Node, right: Node, where: str) -> tuple[Node, Node]:
    """Return two values as those of one type: a missing one fits any, a text may be a date. Raises ``Refused``."""
    if Op.MISSING in (left.op, right.op):
        dtype = right.dtype if left.op is Op.MISSING else left.dtype
        missing = Node(op=Op.MISSING, dtype=dtype)
        return (missing if left.op is Op.MISSING else left, missing if right.op is Op.MISSING else right)
    if left.dtype.is_time and right.op is Op.TEXT:
        right = moment(right.value, left.dtype)
    if right.dtype.is_time and left.op is Op.TEXT:
        left = moment(left.value, right.dtype)
    if left.dtype.is_time and right.dtype.is_time:
        return same_time(left, right)
    if left.dtype is not right.dtype:
        raise Refused(f"{where} needs values of one type, and has {KINDS[left.dtype]} and {KINDS[right.dtype]}")
    return left, right


def same_time(left: Node, right: Node) -> tuple[Node, Node]:
    """Return dates as timestamps where the other one is a timestamp."""
    if left.dtype is right.dtype:
        return left, right
    return as_timestamp(left), as_timestamp(right)


def as_timestamp(value: Node) -> Node:
    """Return a date as the timestamp of its midnight."""
    if value.dtype is DType.DATETIME:
        return value
    return Node(op=Op.MULTIPLY, dtype=DType.DATETIME, args=(value, number(DAY)))


def wanted(value: Node, dtype: DType, where: str) -> Node:
    """Return a value that has a type. Raises ``Refused`` if it has another one."""
    if value.op is Op.MISSING:
        return Node(op=Op.MISSING, dtype=dtype)
    if value.dtype is not dtype:
        is_number_wanted = value.dtype is DType.BOOL and dtype is DType.FLOAT
        advice = "CASE WHEN … THEN 1 ELSE 0 END makes a number of a condition" if is_number_wanted else None
        raise Refused(f"{where} needs {KINDS[dtype]}, and has {KINDS[value.dtype]}", advice)
    return value
