"""The column that a split keeps apart, for choices on parts of the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class KeptApart:
    """The ``values`` of the training rows, int64 [N]: their groups or, if ``in_time``, the order of their times.

    The held-out rows of the split are of other groups, or newer; so are those of a part that is held out of the
    training rows.
    """

    values: Array
    in_time: bool

    @classmethod
    def of(cls, data: PreparedData) -> KeptApart | None:
        """Read it; None where the rows are split at random.

        Raises:
            StepFailed: the files do not fit each other.
        """
        if data.separated is None:
            return None
        rows = pl.scan_parquet(data.path / "separated.parquet", glob=False).filter(~pl.col("held_out"))
        found = rows.select(pl.col("value").rank("dense").cast(pl.Int64)).collect(engine="streaming")
        if len(found) != data.rows_train:
            message = f"{len(found):,} values of '{data.separated}' for {data.rows_train:,} training rows"
            raise StepFailed(f"{data.dataset}: {message}")
        return cls(values=found.to_series().to_numpy(), in_time=data.in_time)

    def held_out(self, share: float, seed: int) -> Array:
        """Return which rows are a part of about ``share`` of the rows, bool [N]: the newest, or whole groups."""
        if not self.in_time:
            found: Array = self.folds(max(2, round(1 / share)), seed) == 0
            return found
        times, counts = np.unique(self.values, return_counts=True)
        newer = np.cumsum(counts[::-1])[::-1]
        wanted = np.abs(newer[1:] - share * len(self.values))
        return self.values >= times[1 + int(np.argmin(wanted))] if len(wanted) else np.zeros(len(self.values), bool)

    def folds(self, number: int, seed: int) -> Array:
        """Return the fold of each row, [N], from 0: whole groups, so that all folds have about as many rows."""
        _, groups, counts = np.unique(self.values, return_inverse=True, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(counts))
        order = order[np.argsort(-counts[order], kind="stable")]
        sizes, folds = np.zeros(number, dtype=np.int64), np.empty(len(counts), dtype=np.int64)
        for group in order:
            folds[group] = np.argmin(sizes)
            sizes[folds[group]] += counts[group]
        chosen: Array = folds[groups]
        return chosen
