"""Preprocessing fitted on the training rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import fmean

import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Image
from when_ml_pipeline_meets_hydra.ml.datasets.table import column
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import Part, number, parts
from when_ml_pipeline_meets_hydra.ml.expressions.tree import Derived
from when_ml_pipeline_meets_hydra.ml.preparation.categories import Category, categories
from when_ml_pipeline_meets_hydra.ml.preparation.param import Imputation, PreparationParam, Scaling
from when_ml_pipeline_meets_hydra.ml.preparation.quantiles import quantiles
from when_ml_pipeline_meets_hydra.ml.preparation.resolution import losses

_FIRST_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers: a missing x becomes ``fill``, then x becomes (x - ``center``) / ``scale``, a 32-bit float.

    ``part``: of dates, x is their number or a part of it. ``indicator``: a further feature is 1 where x is missing,
    otherwise 0.
    """

    index: int
    fill: float
    center: float
    scale: float
    indicator: bool
    part: Part = Part.VALUE


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The fitted preprocessing of all columns; features in the order numbers, indicators, categories.

    The last of ``columns`` are those that are ``derived`` from the others.
    """

    columns: tuple[Column, ...]
    derived: tuple[Derived, ...] = ()
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that are not derived."""
        return self.columns[: len(self.columns) - len(self.derived)]

    @property
    def indicators(self) -> tuple[Number, ...]:
        """The columns of numbers that have a missing indicator."""
        return tuple(n for n in self.numbers if n.indicator)

    @property
    def indicated(self) -> tuple[tuple[int, int], ...]:
        """The features of each column of numbers that has a missing indicator, each with the indicator's feature."""
        places = {n.index: place for place, n in enumerate(self.indicators, len(self.numbers))}
        return tuple((k, places[n.index]) for k, n in enumerate(self.numbers) if n.index in places)

    @property
    def one_hot(self) -> tuple[tuple[int, int], ...]:
        """The range of features of each text column that has any: the index of the first, and the end."""
        ends = list(accumulate((len(c.values) for c in self.categories), initial=len(self.numbers + self.indicators)))
        return tuple((start, end) for start, end in pairwise(ends) if start < end)

    @property
    def rare(self) -> tuple[int, ...]:
        """The features of rare categories."""
        are_rare = (value in c.rare for c in self.categories for value in c.values)
        return tuple(k for k, is_rare in enumerate(are_rare, len(self.numbers + self.indicators)) if is_rare)

    def features(self, reserved: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the features: unique, none of them ``reserved``, none a column pattern of Polars."""
        names = [_named(self.columns[n.index].name, n.part) for n in self.numbers]
        names += [f"{self.columns[n.index].name} missing" for n in self.indicators]
        names += [f"{self.columns[c.index].name}={v or 'missing'}" for c in self.categories for v in c.values]
        return tuple(_distinct(names, set(reserved)))


def fit(
    train: pl.LazyFrame,
    columns: tuple[Column, ...],
    rows: int,
    param: PreparationParam,
    image: Image | None = None,
    derived: tuple[Derived, ...] = (),
    sources: Collection[int] = (),
) -> Fitted:
    """Fit the preprocessing to the ``rows`` training rows, whose k-th column is named ``c<k>``.

    The last columns are those that are ``derived``; ``sources`` are the indices of those that give no features.
    """
    numeric = [k for k, c in enumerate(columns) if not c.dtype.is_text and k not in sources]
    texts = [k for k, c in enumerate(columns) if c.dtype.is_text and k not in sources]
    shared = None if param.scaling is Scaling.NONE else image
    return Fitted(
        columns=columns,
        derived=derived,
        numbers=tuple(_with_scales(list(_numbers(train, columns, numeric, rows, param)), shared)),
        categories=tuple(categories(train, texts, rows, param)),
    )


def _numbers(
    train: pl.LazyFrame, columns: Sequence[Column], indices: Sequence[int], rows: int, param: PreparationParam
) -> Iterator[Number]:
    of_columns = [(k, part) for k in indices for part in parts(columns[k].dtype)]
    values = [number(column(k), columns[k].dtype, part) for k, part in of_columns]
    moments = _moments(train, values)
    quartiles = _quartiles(train, rows, values, param)
    as_features = [x.cast(pl.Float32) for x in values] if param.scaling is Scaling.NONE else []
    too_coarse = losses(train, rows, values, as_features) if as_features else {}
    for place, ((k, part), (count, mean, deviation, low, high), (lower, median, upper)) in enumerate(
        zip(of_columns, moments, quartiles, strict=True)
    ):
        if part is not Part.VALUE and low == high:
            continue  # all in the same month, on the same weekday, or without a time of day
        scaling = Scaling.STANDARD if place in too_coarse else param.scaling
        center, scale = {
            Scaling.NONE: (0.0, 1.0),
            Scaling.STANDARD: (mean, deviation),
            Scaling.ROBUST: (median, upper - lower or deviation),
        }[scaling]
        fill = {Imputation.MEAN: mean, Imputation.MEDIAN: median, Imputation.ZERO: 0.0}[param.imputation]
        indicator = param.missing_indicator and 0 < count < rows and part is Part.VALUE
        # The computed deviation of equal numbers is not exactly 0; dividing by it would turn rounding into a signal.
        scale = 0.0 if low == high else scale
        yield Number(index=k, fill=fill, center=center, scale=scale, indicator=indicator, part=part)


def _with_scales(numbers: Sequence[Number], image: Image | None) -> Iterator[Number]:
    """Replace scales of 0 by 1, and give all pixels of a channel the same center and scale.

    Scaled by its own deviation, a pixel that is rarely bright would dominate all others.
    """
    size = image.height * image.width if image else 1
    for start in range(0, len(numbers), size):
        channel = numbers[start : start + size]
        center = fmean(n.center for n in channel)
        # The variance within the pixels plus the variance between them.
        scale = math.sqrt(fmean(n.scale**2 + (n.center - center) ** 2 for n in channel)) if image else channel[0].scale
        yield from (replace(n, center=center, scale=scale or 1.0) for n in channel)


def _moments(train: pl.LazyFrame, values: Sequence[pl.Expr]) -> list[list[float]]:
    """For each column the number of values, mean, standard deviation, minimum and maximum."""
    # As differences from one of the values: sums of large numbers would lose what distinguishes them.
    first = _first(train, values)
    offsets = [x - start for x, start in zip(values, first, strict=True)]
    expressions = [e for x in offsets for e in (x.count(), x.mean(), x.std(ddof=0), x.min(), x.max())]
    named = [e.alias(str(k)) for k, e in enumerate(expressions)]
    row = train.select(named).collect(engine="streaming").row(0) if named else ()
    flat = [_rounded(value) for value in row]
    made = []
    for k, start in enumerate(first):
        count, mean, deviation, low, high = flat[5 * k : 5 * k + 5]
        made.append([count, _at(start + mean, deviation), deviation, start + low, start + high])
    return made


def _first(train: pl.LazyFrame, values: Sequence[pl.Expr]) -> list[float]:
    """For each column a value of the first rows; 0 if there is none."""
    named = [x.drop_nulls().first().alias(str(k)) for k, x in enumerate(values)]
    row = train.head(_FIRST_ROWS).select(named).collect(engine="streaming").row(0) if named else ()
    return [value if value is not None and math.isfinite(value) else 0.0 for value in row]


def _quartiles(train: pl.LazyFrame, rows: int, values: Sequence[pl.Expr], param: PreparationParam) -> list[list[float]]:
    """For each column lower quartile, median and upper quartile; 0 for those that ``param`` does not need."""
    every = (0.25, 0.5, 0.75)
    needed = every if param.scaling is Scaling.ROBUST else (0.5,) if param.imputation is Imputation.MEDIAN else ()
    computed = [dict(zip(needed, own, strict=True)) for own in quantiles(train, rows, values, needed)]
    return [[own.get(share) or 0.0 for share in every] for own in computed]


def _rounded(value: float | None) -> float:
    """Round to twelve digits, so that the order of a parallel sum does not change the graph.

    None and infinite values become 0.
    """
    return float(f"{value:.12g}") if value is not None and math.isfinite(value) else 0.0


def _at(value: float, spread: float) -> float:
    """Round to the place of the twelfth digit of ``spread``, or of the value, if that is less."""
    if not (spread and value and math.isfinite(value)):
        return value if math.isfinite(value) else 0.0
    return round(value, 11 - math.floor(math.log10(min(spread, abs(value)))))


def _named(name: str, part: Part) -> str:
    return name if part is Part.VALUE else f"{name} {part.value}"


def _distinct(names: Sequence[str], taken: set[str]) -> Iterator[str]:
    for name in names:
        candidate, number = name, 2
        while candidate in taken or _is_pattern(candidate):
            candidate, number = f"{name} ({number})", number + 1
        taken.add(candidate)
        yield candidate


def _is_pattern(name: str) -> bool:
    """Whether Polars would take the name for a pattern of several columns."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))
