"""Whether the values of a column of numbers remain different as features, which are 32-bit floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.datasets.table import ROW

SAMPLE_ROWS, SAMPLE_VALUES = 20_000, 4_000_000
# Parts of a column's different values. Of 20,000 random numbers, 0.1 % coincide as 32-bit floats.
_BY_CHANCE, _TOO_MANY = 0.01, 0.1


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The number of different values of a column in a sample, ``before`` and ``after`` they became features."""

    before: int
    after: int

    @property
    def part(self) -> float:
        """The part that coincides with others."""
        return 1 - self.after / self.before


def losses(
    train: pl.LazyFrame, rows: int, values: Sequence[pl.Expr], features: Sequence[pl.Expr]
) -> Mapping[int, Loss]:
    """Return by position the ``values`` that are no longer different as ``features``, beyond chance."""
    if not values:
        return {}
    step = -(-rows // max(1, min(SAMPLE_ROWS, SAMPLE_VALUES // len(values))))
    counts = [x.drop_nulls().n_unique().alias(str(k)) for k, x in enumerate([*values, *features])]
    row = train.filter(pl.col(ROW) % step == 0).select(counts).collect(engine="streaming").row(0)
    found = {k: Loss(before=one, after=row[len(values) + k]) for k, one in enumerate(row[: len(values)]) if one}
    return {k: loss for k, loss in found.items() if loss.part > _BY_CHANCE}


def check(
    train: pl.LazyFrame,
    rows: int,
    names: Sequence[str],
    values: Sequence[pl.Expr],
    features: Sequence[pl.Expr],
    scaling: str,
) -> list[str]:
    """Return a line for each column some of whose ``values`` coincide as ``features``.

    Raises:
        StepFailed: more than a tenth of them coincide.
    """
    lines = []
    for k, loss in losses(train, rows, values, features).items():
        line = f"{names[k]}: of {loss.before:,} different values (in a sample) {loss.after:,} remain as 32-bit floats"
        if loss.part > _TOO_MANY:
            numbers = values[k].cast(pl.Float64)
            low, high = train.select(low=numbers.min(), high=numbers.max()).collect(engine="streaming").row(0)
            other = "standard" if scaling == "robust" else "robust"
            raise StepFailed(
                f"{line}: its numbers from {low:.4g} to {high:.4g} are too far from each other. Correct those far from "
                f"all others, leave out the column, or choose p_param.scaling={other}"
            )
        lines.append(line)
    return lines
