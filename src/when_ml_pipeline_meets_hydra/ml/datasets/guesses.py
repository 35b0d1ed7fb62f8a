"""Guesses of the types of text columns, and what their texts look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import polars as pl

from when_ml_pipeline_meets_hydra.ml import dates
from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import number_marks, number_signs
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.number_marks import Marks
from when_ml_pipeline_meets_hydra.ml.datasets.values import convert, null_if_missing, truth_word

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.datasets.table import Located

# A text column with at least this share of numbers is taken for a column of numbers with mistakes in it.
MOSTLY = 0.9
_FIRST_ROWS = 10_000
_SAMPLE = 100  # texts of a column, all different
_ORDER = (DType.DATE, DType.DATETIME, DType.INT, DType.FLOAT, DType.BOOL, DType.STRING)
_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?")
# Texts that may differ although they are the same value: leading zeros, more digits than 64-bit floats have, and
# offsets from UTC. Others, such as 1.1 and 1.10, are found among the first texts.
_MERGED = r"^[+\-\u2212]?(?:0[0-9]|[0-9]{16,}$)|[1-9](?:\.?[0-9]){17}|:[0-9.]+ ?[+-][0-9]{2}:?[0-9]{2}$"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What the texts of a column can be read as.

    ``counts``: how many as each type, STRING: all; ``form``: the format of the dates among them (None: ISO 8601);
    ``looks``: what they look like if they remain texts; ``marks``: those of numbers that they may be; ``may_merge``:
    different texts may be the same value.
    """

    counts: Mapping[DType, int]
    form: str | None = None
    looks: str = ""
    marks: tuple[Marks, ...] = ()
    may_merge: bool = False

    @property
    def dtype(self) -> DType:
        """The first type that all values have; STRING for a column without values."""
        total = self.counts[DType.STRING]
        return next(d for d in _ORDER if self.counts[d] == total) if total else DType.STRING

    @property
    def likely(self) -> DType | None:
        """The type of nearly all values of a column whose values remain texts, or None."""
        if self.dtype is not DType.STRING:
            return None
        most = MOSTLY * self.counts[DType.STRING]
        return next((d for d in (DType.FLOAT, DType.DATE, DType.DATETIME) if self.counts[d] >= most > 0), None)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A type, and a format, that the first texts of a column suggest."""

    where: Located
    dtype: DType | None  # None: texts that may differ although they are the same value
    form: str | None = None


@dataclass(kw_only=True)
class _First:
    """The first texts of a column, and what they suggest."""

    where: Located
    sample: list[str]
    forms: list[str | None] = field(default_factory=list)

    def candidates(self) -> Iterable[_Candidate]:
        """The types that are worth counting."""
        yield _Candidate(where=self.where, dtype=DType.STRING)
        if not self.sample:  # the first values are all missing
            yield from (_Candidate(where=self.where, dtype=d) for d in (*_ORDER[:-1], None))
            return
        if any(map(_has_digit, self.sample)) or any(text.lower().endswith(("inf", "infinity")) for text in self.sample):
            yield from (_Candidate(where=self.where, dtype=d) for d in (DType.INT, DType.FLOAT, None))
        if any(text.lower() in ("true", "false") for text in self.sample):
            yield _Candidate(where=self.where, dtype=DType.BOOL)
        for form in self.forms:
            if form is None or not dates.has_time(form):
                yield _Candidate(where=self.where, dtype=DType.DATE, form=form)
            if form is None or dates.has_time(form):
                yield _Candidate(where=self.where, dtype=DType.DATETIME, form=form)


def guess(rows: RawRows, columns: Iterable[Located]) -> dict[int, Guess]:
    """Guess, by position, the types of text columns, in one streaming pass after a look at the first rows.

    Parsing is slow, so types that the first rows rule out are not counted any further; they count as 0.
    """
    columns = list(columns)
    if not columns:
        return {}
    texts = rows.frame.select(
        null_if_missing(pl.nth(w.position), w.physical, rows.reading).alias(str(w.position)) for w in columns
    )
    first = texts.head(_FIRST_ROWS).collect(engine="streaming")
    looked = [_look(where, first[str(where.position)]) for where in columns]
    candidates = [c for at_first in looked for c in at_first.candidates()]
    early = _counted(rows, first.lazy(), candidates)
    total = {c.where.position: n for c, n in early.items() if c.dtype is DType.STRING}
    left = [c for c in candidates if _is_possible(c, early[c], total[c.where.position])]
    counted = _counted(rows, texts, left)
    may_merge = {c.where.position for c, n in counted.items() if c.dtype is None and n}
    by_position: dict[int, dict[_Candidate, int]] = {where.position: {} for where in columns}
    for candidate, n in counted.items():
        by_position[candidate.where.position][candidate] = n
    return {
        at_first.where.position: replace(
            _guess(by_position[at_first.where.position], at_first, rows.reading),
            may_merge=at_first.where.position in may_merge or _is_merged(at_first.sample, rows.reading),
        )
        for at_first in looked
    }


def _look(where: Located, texts: pl.Series) -> _First:
    sample = texts.drop_nulls().head(50 * _SAMPLE).unique(maintain_order=True).head(_SAMPLE).to_list()
    sample = [text.strip() for text in sample]
    plausible = sample and all(6 <= len(text) <= 40 and _has_digit(text) for text in sample[:3])
    return _First(where=where, sample=sample, forms=dates.formats(sample, MOSTLY) if plausible else [])


def _is_merged(sample: Sequence[str], reading: Reading) -> bool:
    """Whether some of different texts are the same number, as 1.1 and 1.10 are."""
    numbers = []
    for text in sample:
        plain = text.replace(reading.thousands, "") if reading.thousands else text
        with suppress(ValueError):
            numbers.append(float(plain.replace(reading.decimal, ".")))
    return len(set(numbers)) < len(numbers)


def _has_digit(text: str) -> bool:
    return any("0" <= c <= "9" for c in text)


def _is_possible(candidate: _Candidate, count: int, total: int) -> bool:
    """Whether all of the first values are of a type; numbers and dates also if some of these values are mistakes."""
    return count == total or candidate.dtype is None or (count > 0 and candidate.dtype not in (DType.INT, DType.BOOL))


def _counted(rows: RawRows, texts: pl.LazyFrame, candidates: Sequence[_Candidate]) -> dict[_Candidate, int]:
    counts = texts.select(
        _as(pl.col(str(c.where.position)), c, rows).count().alias(str(k)) for k, c in enumerate(candidates)
    ).collect(engine="streaming")
    return dict(zip(candidates, counts.row(0), strict=True))


def _as(text: pl.Expr, candidate: _Candidate, rows: RawRows) -> pl.Expr:
    """The values of a type; of truth values only words, since 0 and 1 are numbers unless the config says more."""
    if candidate.dtype is None:
        return pl.when(text.str.contains(_MERGED)).then(text)
    if candidate.dtype is DType.BOOL:
        return truth_word(text)
    return convert(text, pl.String(), candidate.dtype, rows.reading, candidate.form)


def _guess(counts: Mapping[_Candidate, int], first: _First, reading: Reading) -> Guess:
    best = {dtype: max((n for c, n in counts.items() if c.dtype is dtype), default=0) for dtype in _ORDER}
    fits = {c.form for c, n in counts.items() if c.dtype and c.dtype.is_time and n == best[DType.STRING] > 0}
    forms = [form for form in (first.forms or [None]) if form in fits]
    different = {tuple(dates.parse(text, form) for text in first.sample) for form in forms}
    if len(different) > 1:
        named = " or ".join(str(form) for form in forms)
        return Guess(counts={**best, DType.DATE: 0, DType.DATETIME: 0}, looks=f"dates {named}")
    if not forms:  # of most of them, the others being mistakes
        most = max(best[DType.DATE], best[DType.DATETIME])
        forms = [c.form for c, n in counts.items() if c.dtype and c.dtype.is_time and n == most > 0]
    form = forms[0] if forms else None
    found = Guess(counts=best, form=form)
    if found.dtype is not DType.STRING:
        return found
    return replace(found, looks=looks(first.sample, reading), marks=number_marks.candidates(first.sample, reading))


def looks(sample: Sequence[str], reading: Reading) -> str:
    """Return what texts, all different, look like; "" if like nothing but texts."""
    if signed := number_signs.described(sample, MOSTLY):
        return signed
    if sum(_TIME_OF_DAY.fullmatch(text) is not None for text in sample) >= MOSTLY * len(sample) > 0:
        return "times of day"
    if others := number_marks.exceptions(sample, reading, MOSTLY):
        named = ", ".join(f"'{text}'" for text in others[:3])
        return f"numbers, but for {named}{' …' if len(others) > 3 else ''}"
    if marks := number_marks.candidates(sample, reading, MOSTLY):
        return number_marks.described(marks)
    forms = dates.formats(sample, MOSTLY) if len(sample[0] if sample else "") >= 6 else []
    return f"dates {' or '.join(form or 'YYYY-MM-DD' for form in forms)}" if forms else ""


def merged(rows: RawRows, columns: Iterable[Located]) -> dict[int, tuple[int, int]]:
    """By position: the number of different texts and of the values they become, where these are fewer."""
    columns = list(columns)
    if not columns:
        return {}
    expressions: dict[str, pl.Expr] = {}
    for where in columns:
        text = null_if_missing(pl.nth(where.position), where.physical, rows.reading).str.strip_chars()
        value = convert(text, pl.String(), where.column.dtype, rows.reading, where.column.format)
        value = value if where.column.dtype.is_time else value.cast(pl.Float64)
        expressions |= {f"text{where.position}": text.drop_nulls().n_unique()}
        expressions |= {f"value{where.position}": value.drop_nulls().n_unique()}
    row = rows.frame.select(**expressions).collect(engine="streaming").row(0, named=True)
    pairs = {w.position: (row[f"text{w.position}"], row[f"value{w.position}"]) for w in columns}
    return {position: (texts, values) for position, (texts, values) in pairs.items() if values < texts}
