"""The prepared data as matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.stages.artifacts import PreparedData, Task

Array = np.ndarray[Any, Any]
_TARGET = "__target__"


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """One split: ``features``, float32 [N, F], and ``target``, [N], float64 or int64 indices of classes."""

    features: Array
    target: Array


def read_split(data: PreparedData, split: str) -> Matrices:
    """The split ``train`` or ``test``.

    Raises:
        StepFailed: it has no rows, or a value that is no finite number.
    """
    table = pl.read_parquet(data.path / f"{split}.parquet", columns=[*data.features, _TARGET])
    if not table.height:
        raise StepFailed(f"The {split} split of {data.dataset} has no rows; change p_param or the data")
    features = table.select(pl.col(name).cast(pl.Float32) for name in data.features)
    dtype = pl.Int64 if data.task is Task.CLASSIFICATION else pl.Float64
    matrices = Matrices(features=_matrix(features), target=table[_TARGET].cast(dtype).to_numpy())
    _refuse_not_finite(matrices, split, data)
    return matrices


def _matrix(table: pl.DataFrame) -> Array:
    # Row by row in memory, as onnxruntime wants it.
    return np.ascontiguousarray(table.to_numpy(), dtype=np.float32)


def _refuse_not_finite(matrices: Matrices, split: str, data: PreparedData) -> None:
    columns = zip(data.features, matrices.features.T, strict=True)
    wrong = [name for name, column in columns if not np.isfinite(column).all()]
    if not np.isfinite(matrices.target).all():
        wrong.append(data.target.name)
    if wrong:
        raise StepFailed(
            f"The {split} split of {data.dataset} has values that are no finite numbers: {', '.join(wrong)}"
        )
