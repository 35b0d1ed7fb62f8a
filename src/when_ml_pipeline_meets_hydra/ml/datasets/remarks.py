"""Remarks on the columns of a table: what is not obvious of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType
from when_ml_pipeline_meets_hydra.ml.datasets import number_marks, time_remarks
from when_ml_pipeline_meets_hydra.ml.datasets.guesses import Guess, merged
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Located

_MERGING = (DType.INT, DType.FLOAT, DType.DATETIME)  # types of which values are written in several ways


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """What is not obvious of the columns of a table.

    ``left_out``: columns that are not in the table, each with the reason; ``merged``: columns whose different texts are
    the same value; ``looks``: what columns of texts, by name, look like; ``formats``: those of dates that were found;
    ``like_dates``: those of dates that whole numbers look like; ``zones``: how times with a time zone are read;
    ``unread``: files that are not read.
    """

    left_out: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    looks: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    like_dates: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def remarks_of(
    rows: RawRows, columns: Sequence[Located], guesses: Mapping[int, Guess], left_out: tuple[str, ...]
) -> Remarks:
    """Return the remarks on the columns of raw rows; ``guesses``: by position, of those whose types were guessed."""
    own = {where.position: where.column for where in columns if where.position in guesses}
    places = [(where.position, where.column, where.physical) for where in columns]
    suspect = [w for w in columns if w.guessed and guesses[w.position].may_merge and w.column.dtype in _MERGING]
    return Remarks(
        left_out=left_out,
        merged=tuple(
            _merged(own[position], texts, values) for position, (texts, values) in merged(rows, suspect).items()
        ),
        looks=_looks(rows, columns, guesses),
        formats={c.name: c.format for c in own.values() if c.format},
        like_dates=time_remarks.like_dates(rows, columns),
        zones={**rows.zones, **time_remarks.zones(rows.frame, places, rows.reading)},
        unread=rows.unread,
    )


def _merged(column: Column, texts: int, values: int) -> str:
    what = "time" if column.dtype.is_time else "number"
    return f"{column.name} ({texts:,} different texts, {values:,} {what}{'' if values == 1 else 's'})"


def _looks(rows: RawRows, columns: Sequence[Located], guesses: Mapping[int, Guess]) -> dict[str, str]:
    """By name: what columns of texts look like; of numbers with the overrides, or why they are of no use."""
    texts = {w.position: w.column.name for w in columns if w.column.dtype is DType.STRING and w.position in guesses}
    fitting = number_marks.fitting(rows, columns, {position: guesses[position].marks for position in texts})
    found = {}
    for position, name in texts.items():
        kind, marks = guesses[position].looks, guesses[position].marks
        if fits := fitting[position].marks:
            kind = f"{number_marks.described(fits)}: {number_marks.advice(fits, rows.reading)}"
        elif fitting[position].spoils:
            kind = f"{number_marks.described(marks)}, unlike other columns"
        found[name] = kind
    return {name: kind for name, kind in found.items() if kind}
