"""What is not obvious of columns with times: whole numbers that look like dates, and time zones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Reading
from when_ml_pipeline_meets_hydra.ml.datasets.values import convert, dtype_of, null_if_missing

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Located

_FIRST_ROWS, _FEW_ROWS = 10_000, 100
_FEWEST = 3  # different numbers: fewer may be dates by chance
_MOST_SHOWN = 3  # offsets of a column
_YEARS = (1900, 2100)
# The lengths of such numbers: 20240131, 202401 and 20240131134500. (Seconds since 1970 are good numbers as they are.)
_FORMS: Mapping[str, tuple[int, ...]] = {"%Y%m%d": (4, 2, 2), "%Y%m": (4, 2), "%Y%m%d%H%M%S": (4, 2, 2, 2, 2, 2)}
_LIMITS = (_YEARS, (1, 12), (1, 31), (0, 23), (0, 59), (0, 59))
_OFFSET = r"[0-9]:?[0-9]{2}(?:[.:][0-9.:]+)? ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)$"


def like_dates(rows: RawRows, columns: Iterable[Located]) -> dict[str, str]:
    """By name: the format of the dates that the first whole numbers of a column look like."""
    candidates = _in_range(rows, [where for where in columns if where.column.dtype is DType.INT])
    if not candidates:
        return {}
    checks = {}
    for k, (where, form) in enumerate(candidates):
        number = _numbers(rows, where)
        checks[str(k)] = (number.n_unique() >= _FEWEST) & _are_dates(number, _FORMS[form]).all()
    are = rows.frame.head(_FIRST_ROWS).select(**checks).collect(engine="streaming").row(0)
    return {where.column.name: form for (where, form), fits in zip(candidates, are, strict=True) if fits}


def _in_range(rows: RawRows, columns: Sequence[Located]) -> list[tuple[Located, str]]:
    """The columns of whole numbers whose first values lie between two dates of a form; of thousands, a few."""
    first = rows.frame.head(_FEW_ROWS).collect(engine="streaming") if columns else pl.DataFrame()
    found = []
    for where in columns:
        values = [v for v in map(_whole, first.to_series(where.position)) if v not in rows.reading.missing_numbers]
        known = [v for v in values if v is not None]
        found += [
            (where, form)
            for form, lengths in _FORMS.items()
            if known and _digits(lengths, 0) <= min(known) <= max(known) <= _digits(lengths, 1)
        ]
    return found


def _whole(value: Any) -> int | None:
    """A whole number in a value of any type."""
    try:
        return None if value is None else int(value)
    except (ValueError, OverflowError):
        return None


def _digits(lengths: Sequence[int], bound: int) -> int:
    """The first or last number of a form: 19000101 or 21001231."""
    parts = zip(lengths, _LIMITS, strict=False)
    return int("".join(f"{limits[bound]:0{length}}" for length, limits in parts))


def _numbers(rows: RawRows, where: Located) -> pl.Expr:
    given = null_if_missing(pl.nth(where.position), where.physical, rows.reading)
    return convert(given, where.physical, DType.INT, rows.reading).drop_nulls()


def _are_dates(number: pl.Expr, lengths: tuple[int, ...]) -> pl.Expr:
    """Whether the digits of whole numbers, in groups of such lengths, are a year, a month and so on."""
    fits, left = pl.lit(True), number
    for length, (low, high) in reversed(list(zip(lengths, _LIMITS, strict=False))):
        part = left if length == 4 else left % 10**length
        fits &= part.is_between(low, high)
        left = left // 10**length
    return fits


def zones(frame: pl.LazyFrame, columns: Iterable[tuple[int, Column, pl.DataType]], reading: Reading) -> dict[str, str]:
    """By name: how times that name a time zone are read; of each column its position in ``frame``, and physical type.

    Texts are looked at in the first rows alone.
    """
    times = [(k, column, physical) for k, column, physical in columns if column.dtype.is_time]
    found = {column.name: f"as written, in {zone}" for _, column, physical in times if (zone := _zone_of(physical))}
    texts = [
        (k, column) for k, column, physical in times if dtype_of(physical) is DType.STRING and _has_offsets(column)
    ]
    if texts:
        values = (null_if_missing(pl.nth(k), pl.String(), reading).str.strip_chars() for k, _ in texts)
        offsets = (v.str.extract(_OFFSET).drop_nulls().unique().sort().implode() for v in values)
        named = (own.alias(str(k)) for k, own in enumerate(offsets))
        first = frame.head(_FIRST_ROWS).select(*named).collect(engine="streaming").row(0)
        found |= {column.name: _as_written(own) for (_, column), own in zip(texts, first, strict=True) if own}
    return found


def _zone_of(physical: pl.DataType) -> str | None:
    return getattr(physical, "time_zone", None)


def _has_offsets(column: Column) -> bool:
    return column.dtype is DType.DATETIME and (column.format is None or "%z" in column.format)


def _as_written(offsets: list[str]) -> str:
    if len(offsets) == 1:
        return f"as written, in {offsets[0].replace('Z', 'UTC').replace('z', 'UTC')}"
    more = f" and {len(offsets) - _MOST_SHOWN} more" if len(offsets) > _MOST_SHOWN else ""
    return f"as written, without their offsets {', '.join(offsets[:_MOST_SHOWN])}{more}"
