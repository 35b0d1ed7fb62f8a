"""The prepared data as matrices: whole, or in batches of rows if all would need too much memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task

Array = np.ndarray[Any, Any]
BATCH = 16_384  # rows
_TARGET, WEIGHT = "__target__", "__weight__"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The features of a split in a file, float32 [N, F], finite; ``where`` names the split in messages."""

    file: Path
    names: tuple[str, ...]
    count: int
    where: str

    @property
    def shape(self) -> tuple[int, int]:
        """N and F."""
        return self.count, len(self.names)

    def __len__(self) -> int:
        return self.count

    def of(self, places: Array) -> Rows:
        """Return the features at ``places``, [f] indices."""
        return replace(self, names=tuple(self.names[k] for k in places.tolist()))

    def batches(self) -> Iterator[Array]:
        """Yield all rows in order, in C-contiguous batches of ``BATCH`` rows; the last one may have fewer.

        Raises:
            StepFailed: a value is not finite.
        """
        scan = pl.scan_parquet(self.file, glob=False).select(pl.col(name).cast(pl.Float32) for name in self.names)
        left = np.empty((0, len(self.names)), dtype=np.float32)
        for part in scan.collect_batches(chunk_size=BATCH, maintain_order=True):
            rows = part.to_numpy(order="c")
            left = np.concatenate((left, rows)) if len(left) else rows
            for end in range(BATCH, len(left) + 1, BATCH):
                yield self._finite(left[end - BATCH : end])
            left = left[len(left) - len(left) % BATCH :]
        if len(left):
            yield self._finite(left)

    def frame(self) -> pl.DataFrame:
        """Return all rows by columns: Float32, or Boolean for features that are 0 or 1.

        Raises:
            StepFailed: a value is not finite.
        """
        frame = pl.read_parquet(self.file, columns=list(self.names), glob=False)
        finite = frame.select(cs.float().is_finite().fill_null(False).all())
        if wrong := [x.name for x in finite if not x.all()]:
            raise _not_finite(self.where, wrong)
        return frame

    def matrix(self) -> Array:
        """Return all rows, float32 [N, F], C-contiguous, as onnxruntime needs it."""
        made, filled = np.empty(self.shape, dtype=np.float32), 0
        for batch in self.batches():
            made[filled : filled + len(batch)] = batch
            filled += len(batch)
        return made

    def _finite(self, batch: Array) -> Array:
        if not np.isfinite(batch).all():
            are_finite = [pl.col(name).cast(pl.Float32).is_finite().fill_null(False).all() for name in self.names]
            row = pl.scan_parquet(self.file, glob=False).select(are_finite).collect(engine="streaming").row(0)
            raise _not_finite(self.where, [name for name, ok in zip(self.names, row, strict=True) if not ok])
        return batch


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """One split: ``rows``, its features in a file, and ``target``, [N], float64 or int64 indices of classes.

    ``weights``, float64 [N], are those of the rows; None if all count the same.
    """

    rows: Rows
    target: Array
    weights: Array | None = None

    @cached_property
    def features(self) -> Array:
        """All features at once, float32 [N, F]."""
        return self.rows.matrix()


def read_split(data: PreparedData, split: str) -> Matrices:
    """Return the split ``train`` or ``test``.

    Raises:
        StepFailed: it has no rows, or a target that is not finite.
    """
    file, where = data.path / f"{split}.parquet", f"The {split} split of {data.dataset}"
    dtype = pl.Int64 if data.task is Task.CLASSIFICATION else pl.Float64
    target = pl.read_parquet(file, columns=[_TARGET])[_TARGET].cast(dtype).to_numpy()
    if not len(target):
        raise StepFailed(f"{where} has no rows; change p_param or the data")
    if not np.isfinite(target).all():
        raise _not_finite(where, [data.target.name])
    weights = None if data.weight is None else pl.read_parquet(file, columns=[WEIGHT])[WEIGHT].to_numpy()
    rows = Rows(file=file, names=data.features, count=len(target), where=where)
    return Matrices(rows=rows, target=target, weights=weights)


def batches(features: Rows | Array) -> Iterator[Array]:
    """Yield the rows of a file in batches, or a matrix as one batch."""
    return features.batches() if isinstance(features, Rows) else iter((features,))


def _not_finite(where: str, names: list[str]) -> StepFailed:
    return StepFailed(f"{where} has values that are not finite: {', '.join(names)}")
