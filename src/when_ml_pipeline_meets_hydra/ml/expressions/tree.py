"""The typed tree of an expression: few operations, each with one meaning for Polars and for ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType


class Op(StrEnum):
    """The operations. Numbers, dates (days) and timestamps (seconds) are doubles; whatever is not finite is missing."""

    COLUMN = "column"  # value: its name
    NUMBER = "number"  # value: a finite number, or that of a date or timestamp
    TEXT = "text"  # value: not empty
    TRUTH = "truth"  # value: true or false
    MISSING = "missing"
    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    POWER = "power"
    ABS = "abs"
    LN = "ln"
    EXP = "exp"
    SQRT = "sqrt"
    FLOOR = "floor"
    CEIL = "ceil"
    PART = "part"  # value: the part of a date or timestamp
    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    AND = "and"
    OR = "or"
    NOT = "not"
    IS_MISSING = "is null"
    IF = "if"  # a condition, what holds if it is true, and what if it is false or unknown
    COALESCE = "coalesce"  # of two


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """An operation on the results of others; ``dtype`` is the type of its own: float, bool, string, date, datetime."""

    op: Op
    dtype: DType
    args: tuple[Node, ...] = ()
    value: Any = None

    def columns(self) -> Iterator[str]:
        """Yield the names of the columns that it reads."""
        if self.op is Op.COLUMN:
            yield self.value
        for arg in self.args:
            yield from arg.columns()


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A column that is computed: its name and type, and how."""

    column: Column
    node: Node
