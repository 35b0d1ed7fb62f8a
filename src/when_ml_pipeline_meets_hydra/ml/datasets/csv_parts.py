"""The CSV files of a data set as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.contents import check_readable
from when_ml_pipeline_meets_hydra.ml.datasets.csv_reading import Records, columns, open_records
from when_ml_pipeline_meets_hydra.ml.datasets.parts import Part, joined

if TYPE_CHECKING:
    import polars as pl


def read(found: Sequence[Part], separator: str, encoding: str | None) -> tuple[pl.LazyFrame, tuple[str, ...]]:
    """Return all rows, every value as text, and the columns without a name, which are left out.

    Raises:
        BadInput: a file cannot be read, has no single right reading, or has other columns than the first one.
    """
    files = [part.file for part in found]
    for file in files:
        check_readable(file)
    parts = [open_records(file, separator, encoding) for file in files]
    first = parts[0]
    for file, part in zip(files, parts, strict=True):
        if sorted(part.names) != sorted(first.names):
            raise BadInput(other_columns(file, files[0], part.names, first.names))
    named = [name for name in first.names if name]
    unnamed = tuple(f"{made} (no name in the header)" for made, name in _with_columns(first) if not name)
    if unnamed or len(parts) > 1:
        return joined([part.frame().select(_places(part, named)) for part in parts], found, texts=True), unnamed
    return joined([first.frame()], found, texts=True), unnamed


def _with_columns(part: Records) -> list[tuple[str, str]]:
    return list(zip(columns(part.names), part.names, strict=True))


def _places(part: Records, names: Sequence[str]) -> list[pl.Expr]:
    """The columns in the order of ``names``: by place, since a name may be a pattern for Polars."""
    import polars as pl

    return [pl.nth(part.names.index(name)) for name in names]


def other_columns(file: Path, first: Path, names: Sequence[str], expected: Sequence[str]) -> Problem:
    """Return the problem of a part that has other columns than the first one."""
    lacks = [name for name in expected if name not in names]
    more = [name for name in names if name not in expected]
    differs = [f"lacks {', '.join(lacks)}" if lacks else "", f"has {', '.join(more)} besides" if more else ""]
    message = f"its columns are not those of {first}: it {' and '.join(filter(None, differs)) or 'differs'}"
    return Problem(key="path", value=str(file), message=message, remedy="All parts need the same columns")
