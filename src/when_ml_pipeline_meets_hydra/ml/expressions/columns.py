"""Expressions as columns of a table, computed by Polars."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import number, part_of_number
from when_ml_pipeline_meets_hydra.ml.expressions.tree import Node, Op

_ARITHMETIC: Mapping[Op, Callable[..., pl.Expr]] = {
    Op.ADD: lambda a, b: a + b,
    Op.SUBTRACT: lambda a, b: a - b,
    Op.MULTIPLY: lambda a, b: a * b,
    Op.DIVIDE: lambda a, b: a / b,
    Op.POWER: lambda a, b: a.pow(b),
    Op.ABS: lambda a: a.abs(),
    Op.LN: lambda a: a.log(),
    Op.EXP: lambda a: a.exp(),
    Op.SQRT: lambda a: a.sqrt(),
    Op.FLOOR: lambda a: a.floor(),
    Op.CEIL: lambda a: a.ceil(),
}
_OTHERS: Mapping[Op, Callable[..., pl.Expr]] = {
    Op.EQUAL: lambda a, b: a == b,
    Op.LESS: lambda a, b: a < b,
    Op.LESS_OR_EQUAL: lambda a, b: a <= b,
    Op.AND: lambda a, b: a & b,
    Op.OR: lambda a, b: a | b,
    Op.NOT: lambda a: ~a,
    Op.IS_MISSING: lambda a: a.is_null(),
    Op.IF: lambda c, a, b: pl.when(c).then(a).otherwise(b),
    Op.COALESCE: lambda a, b: pl.coalesce(a, b),
}
_TYPES = {DType.BOOL: pl.Boolean(), DType.STRING: pl.String()}  # all others are doubles


def with_columns(
    frame: pl.LazyFrame, made: Mapping[str, Node], places: Mapping[str, str], dtypes: Mapping[str, DType]
) -> pl.LazyFrame:
    """Return the frame with further columns, each computed by a tree and of its type, null where missing.

    ``places`` are the names in the frame of the columns that the trees read, ``dtypes`` their types.
    """
    builder = _Builder(frame, places, dtypes)
    before = frame.collect_schema().names()
    values = {name: _as_dtype(builder.value(node), node.dtype) for name, node in made.items()}
    return builder.frame.with_columns(**values).select(*before, *values)


def _as_dtype(value: pl.Expr, dtype: DType) -> pl.Expr:
    """Numbers of dates and timestamps as such."""
    if dtype is DType.DATE:
        return value.floor().cast(pl.Int32).cast(pl.Date)
    return (value * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")) if dtype is DType.DATETIME else value


class _Builder:
    """A frame to which each arithmetic operation adds a column, which is then read twice."""

    def __init__(self, frame: pl.LazyFrame, places: Mapping[str, str], dtypes: Mapping[str, DType]) -> None:
        self.frame, self._places, self._dtypes, self._count = frame, places, dtypes, 0

    def value(self, node: Node) -> pl.Expr:
        """Return the value of a node, as an expression of the columns of the frame."""
        if node.op is Op.COLUMN:
            place = self._places[node.value]
            return pl.col(place) if node.dtype in _TYPES else number(place, self._dtypes[node.value])
        if node.op in (Op.NUMBER, Op.TEXT, Op.TRUTH, Op.MISSING):
            return pl.lit(node.value, dtype=_TYPES.get(node.dtype, pl.Float64()))
        args = [self.value(arg) for arg in node.args]
        if node.op is Op.PART:
            return part_of_number(args[0], node.args[0].dtype, node.value)
        if node.op in _OTHERS:
            return _OTHERS[node.op](*args)
        name = f"made/{self._count}"
        self._count += 1
        self.frame = self.frame.with_columns(_ARITHMETIC[node.op](*args).alias(name))
        return pl.when(pl.col(name).is_finite()).then(pl.col(name))
