"""What preprocessing learns from the training rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import fmean

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets.table import column
from when_ml_pipeline_meets_hydra.ml.preparation.param import Imputation, PreparationParam, Scaling
from when_ml_pipeline_meets_hydra.ml.preparation.quantiles import quantiles

# Beyond this many different texts, those that are too rare are left out before any are counted exactly.
TEXTS_AT_ONCE = 200_000
_BUCKETS = 65_536


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers: a missing x becomes ``fill``, then x becomes (x - ``center``) / ``scale``.

    ``indicator``: a further feature says whether x was missing.
    """

    index: int
    fill: float
    center: float
    scale: float
    indicator: bool


@dataclass(frozen=True, kw_only=True)
class Category:
    """A column of texts: one feature for each of ``values`` ("" is a missing text); others are zeros in all."""

    index: int
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The preprocessing of all columns. Features come in the order numbers, indicators, categories."""

    columns: tuple[Column, ...]
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    @property
    def indicators(self) -> tuple[Number, ...]:
        """The numbers whose absence is a feature."""
        return tuple(n for n in self.numbers if n.indicator)

    @property
    def one_hot(self) -> tuple[tuple[int, int], ...]:
        """The features of each column of texts that has any: the first and the end."""
        ends = list(accumulate((len(c.values) for c in self.categories), initial=len(self.numbers + self.indicators)))
        return tuple((start, end) for start, end in pairwise(ends) if start < end)

    def features(self, reserved: Sequence[str]) -> tuple[str, ...]:
        """The names of the features: all different, none of the ``reserved`` ones, none a pattern to Polars."""
        names = [self.columns[n.index].name for n in self.numbers]
        names += [f"{self.columns[n.index].name} missing" for n in self.indicators]
        names += [f"{self.columns[c.index].name}={v or 'missing'}" for c in self.categories for v in c.values]
        return tuple(_distinct(names, set(reserved)))


def number(name: str, dtype: DType) -> pl.Expr:
    """A column as Float64."""
    days = pl.col(name).to_physical() if dtype is DType.DATE else pl.col(name)
    return days.cast(pl.Float64)


def text(name: str) -> pl.Expr:
    """A column as texts; a missing one is empty, a truth value is ``true`` or ``false``."""
    return pl.col(name).cast(pl.String).fill_null("")


def fit(
    train: pl.LazyFrame, columns: tuple[Column, ...], rows: int, param: PreparationParam, image: Image | None = None
) -> Fitted:
    """Learn from the ``rows`` training rows, whose k-th column is named ``c<k>``."""
    numeric = [k for k, c in enumerate(columns) if not c.dtype.is_text]
    texts = [k for k, c in enumerate(columns) if c.dtype.is_text]
    alike = None if param.scaling is Scaling.NONE else image
    return Fitted(
        columns=columns,
        numbers=tuple(_scaled_alike(list(_numbers(train, columns, numeric, rows, param)), alike)),
        categories=tuple(_categories(train, texts, rows, param)),
    )


def _numbers(
    train: pl.LazyFrame, columns: Sequence[Column], indices: Sequence[int], rows: int, param: PreparationParam
) -> Iterator[Number]:
    values = [number(column(k), columns[k].dtype) for k in indices]
    moments = _moments(train, values)
    quartiles = _quartiles(train, rows, values, param)
    for k, (count, mean, deviation, low, high), (lower, median, upper) in zip(indices, moments, quartiles, strict=True):
        center, scale = {
            Scaling.NONE: (0.0, 1.0),
            Scaling.STANDARD: (mean, deviation),
            Scaling.ROBUST: (median, upper - lower or deviation),
        }[param.scaling]
        fill = {Imputation.MEAN: mean, Imputation.MEDIAN: median, Imputation.ZERO: 0.0}[param.imputation]
        indicator = param.missing_indicator and 0 < count < rows
        # The deviation of equal numbers is not quite 0 when it is computed; dividing by it would make it a signal.
        scale = 0.0 if low == high else scale
        yield Number(index=k, fill=fill, center=center, scale=scale, indicator=indicator)


def _scaled_alike(numbers: Sequence[Number], image: Image | None) -> Iterator[Number]:
    """No scale of 0; and one center and scale for all pixels of a channel.

    By its own deviation a pixel that is hardly ever lit would outshine all others.
    """
    size = image.height * image.width if image else 1
    for start in range(0, len(numbers), size):
        channel = numbers[start : start + size]
        center = fmean(n.center for n in channel)
        # The deviation within the pixels, and that between them.
        scale = math.sqrt(fmean(n.scale**2 + (n.center - center) ** 2 for n in channel)) if image else channel[0].scale
        yield from (replace(n, center=center, scale=scale or 1.0) for n in channel)


def _moments(train: pl.LazyFrame, values: Sequence[pl.Expr]) -> list[list[float]]:
    """For each column the number of values, their mean, deviation, least and greatest."""
    asked = [e for x in values for e in (x.count(), x.mean(), x.std(ddof=0), x.min(), x.max())]
    row = train.select(e.alias(str(k)) for k, e in enumerate(asked)).collect(engine="streaming").row(0) if asked else ()
    flat = [_rounded(value) for value in row]
    return [flat[k : k + 5] for k in range(0, len(flat), 5)]


def _quartiles(train: pl.LazyFrame, rows: int, values: Sequence[pl.Expr], param: PreparationParam) -> list[list[float]]:
    """For each column lower quartile, median and upper quartile; 0 for what nothing asks for."""
    every = (0.25, 0.5, 0.75)
    asked = every if param.scaling is Scaling.ROBUST else (0.5,) if param.imputation is Imputation.MEDIAN else ()
    found = [dict(zip(asked, own, strict=True)) for own in quantiles(train, rows, values, asked)]
    return [[_rounded(own.get(share)) for share in every] for own in found]


def _rounded(value: float | None) -> float:
    """Twelve digits: the order of a parallel sum changes the last ones, and the same data must give the same graph.

    What does not exist (nothing is there, or it is too large) is 0.
    """
    return float(f"{value:.12g}") if value is not None and math.isfinite(value) else 0.0


def _categories(train: pl.LazyFrame, indices: Sequence[int], rows: int, param: PreparationParam) -> Iterator[Category]:
    if not indices:
        return
    distinct = train.select(pl.col(column(k)).approx_n_unique() for k in indices).collect(engine="streaming").row(0)
    least = max(1, math.ceil(rows * param.min_frequency))
    for together in _passes(indices, distinct):
        asked = []
        for k, many in together:
            values = train.select(text(column(k)).alias("text"))
            frequent = values if many <= TEXTS_AT_ONCE else _without_rare(values, least)
            asked.append(frequent.group_by("text").len().filter(pl.col("len") >= least))
        for (k, _), counted in zip(together, pl.collect_all(asked, engine="streaming"), strict=True):
            often = sorted(counted.iter_rows(), key=lambda found: (-found[1], found[0]))[: param.max_categories]
            yield Category(index=k, values=tuple(sorted(value for value, _ in often)))


def _passes(indices: Sequence[int], distinct: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Columns, each with its number of different texts, that are counted in one pass over the rows."""
    together: list[tuple[int, int]] = []
    for k, many in zip(indices, distinct, strict=True):
        if together and sum(m for _, m in together) + many > TEXTS_AT_ONCE:
            yield together
            together = []
        together.append((k, many))
    yield together


def _without_rare(values: pl.LazyFrame, least: int) -> pl.LazyFrame:
    """Only texts whose hash occurs often enough, so that counting a column of identifiers stays in memory."""
    bucket = (pl.col("text").hash() % _BUCKETS).alias("bucket")
    often = values.group_by(bucket).len().filter(pl.col("len") >= least).select("bucket").collect(engine="streaming")
    return values.with_columns(bucket).join(often.lazy(), on="bucket", how="semi").select("text")


def _distinct(names: Sequence[str], taken: set[str]) -> Iterator[str]:
    for name in names:
        candidate, number = name, 2
        while candidate in taken or _is_pattern(candidate):
            candidate, number = f"{name} ({number})", number + 1
        taken.add(candidate)
        yield candidate


def _is_pattern(name: str) -> bool:
    """Whether Polars would take the name for several columns: a trap for everyone who reads the matrices."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))
