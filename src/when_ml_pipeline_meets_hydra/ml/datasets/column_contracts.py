"""Column contracts: what the values of a column have to be, checked before training and for batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Reading
from when_ml_pipeline_meets_hydra.ml.datasets.values import EXPECTED, read

_ROW, _SHOWN = "row", 3
_WORDS = {"min": "below", "max": "above", "allowed": "other than", "pattern": "not matching"}


@dataclass(frozen=True, kw_only=True)
class Violation:
    """The violation of one rule of a column; ``str()`` is the message.

    ``count`` of ``total`` values break it; ``rows`` are the first of them (counted from 1), ``value`` is the first one.
    """

    column: Column
    rule: str
    count: int
    total: int
    rows: tuple[int, ...] = ()
    value: str = ""

    @property
    def limit(self) -> str:
        """The rule's value in the config, as text."""
        value = getattr(self.column, self.rule)
        return _listed(value) if self.rule == "allowed" else str(value)

    def __str__(self) -> str:
        name, many = self.column.name, self.count > 1
        if self.rule == "max_missing":
            share = self.count / self.total
            return f"{self.count:,} of {self.total:,} values of the column '{name}' are missing ({share:.3g})"
        rows = _listed(self.rows, more=self.count > len(self.rows))
        what = "that occur more than once" if self.rule == "unique" else f"{_WORDS[self.rule]} {self.limit}"
        value = self.value if len(self.value) <= 40 else f"{self.value[:40]}…"
        place = f"rows {rows} (the first is '{value}')" if many else f"row {rows} ('{value}')"
        return f"the column '{name}' has {self.count:,} value{'s' if many else ''} {what}: {place}"


def _listed(values: Sequence[Any], more: bool = False) -> str:
    return ", ".join(map(str, values[:5])) + (", …" if more or len(values) > 5 else "")


def typed_limits(column: Column) -> dict[str, list[Any]]:
    """Return the values of the rules min, max and allowed, read as the column's type.

    Raises:
        ValueError: one cannot be; the message begins with the rule.
    """
    given = {"min": column.min, "max": column.max}
    limits = {rule: [value] for rule, value in given.items() if value is not None}
    if limits and column.dtype.is_text:
        raise ValueError(f"{next(iter(limits))} is for numbers and dates, not for {column.dtype.value}")
    if column.pattern is not None and column.dtype is not DType.STRING:
        raise ValueError(f"pattern is for texts, not for {column.dtype.value}")
    limits |= {} if column.allowed is None else {"allowed": list(column.allowed)}
    made = {}
    for rule, values in limits.items():
        dtype = DType.FLOAT if column.dtype is DType.INT and rule != "allowed" else column.dtype
        found, bad = read(values, dtype, Reading())
        if bad:
            raise ValueError(f"{rule}: '{values[bad[0]]}' is not {EXPECTED[dtype]}")
        made[rule] = found.to_list()
    return made


def violations(frame: pl.LazyFrame, columns: Mapping[str, Column]) -> list[Violation]:
    """Check rows against the contracts of their columns; ``columns`` are those of the names in ``frame``."""
    masks = {(name, rule): mask for name, c in columns.items() for rule, mask in _masks(pl.col(name), c)}
    if not masks:
        return []
    measures = [pl.len().alias("total")]
    for k, ((name, _), mask) in enumerate(masks.items()):
        where = mask.fill_null(False)
        measures += [
            where.sum().alias(f"count{k}"),
            pl.col(_ROW).filter(where).head(_SHOWN).implode().alias(f"rows{k}"),
            pl.col(name).filter(where).first().cast(pl.String).alias(f"value{k}"),
        ]
    names = dict.fromkeys(name for name, _ in masks)
    measured = frame.select(*names).with_row_index(_ROW).select(measures).collect().row(0, named=True)
    found = [
        Violation(
            column=columns[name],
            rule=rule,
            count=measured[f"count{k}"],
            total=measured["total"],
            rows=tuple(row + 1 for row in measured[f"rows{k}"]),
            value=measured[f"value{k}"] or "",
        )
        for k, (name, rule) in enumerate(masks)
    ]
    return [v for v in found if v.count > (v.total * (v.column.max_missing or 0) if v.rule == "max_missing" else 0)]


def _masks(value: pl.Expr, column: Column) -> Iterator[tuple[str, pl.Expr]]:
    limits = typed_limits(column)
    if "min" in limits:
        yield "min", value < limits["min"][0]
    if "max" in limits:
        yield "max", value > limits["max"][0]
    if "allowed" in limits:
        yield "allowed", ~value.is_in(limits["allowed"])
    if column.pattern is not None:
        yield "pattern", ~value.str.contains(whole(column.pattern))
    if column.unique:
        yield "unique", value.is_not_null() & value.is_duplicated()
    if column.max_missing is not None:
        yield "max_missing", value.is_null()


def whole(pattern: str) -> str:
    """Return the regular expression for texts that match ``pattern`` as a whole."""
    return f"^(?:{pattern})$"


def described(column: Column) -> Sequence[str]:
    """Return the rules of a column as texts, such as ``min 0``."""
    rules = {rule: getattr(column, rule) for rule in ("min", "max", "allowed", "pattern", "unique", "max_missing")}
    texts = []
    for rule, value in rules.items():
        if value not in (None, False):
            shown = ", ".join(map(str, value)) if rule == "allowed" else value
            texts.append(rule if rule == "unique" else f"{rule} {shown}")
    return texts
