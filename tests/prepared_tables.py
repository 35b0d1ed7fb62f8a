"""Prepared data made from tables of numbers: split by a seed, standardised on the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, PreparedData, Task

Array = np.ndarray[Any, Any]


def prepared(
    folder: Path, features: Array, target: Array, *, classes: Sequence[str] = (), test_part: float = 0.25, seed: int = 0
) -> PreparedData:
    """Prepared data below ``folder``; ``target`` holds numbers, or indices of ``classes``."""
    order = np.random.default_rng(seed).permutation(len(target))
    cut = max(1, int(len(target) * test_part))
    test, train = order[:cut], order[cut:]
    scale = features[train].std(axis=0)
    matrix = (features - features[train].mean(axis=0)) / np.where(scale > 0, scale, 1)
    return written(folder, matrix[train], target[train], matrix[test], target[test], classes)


def written(
    folder: Path, features: Array, target: Array, test_features: Array, test_target: Array, classes: Sequence[str] = ()
) -> PreparedData:
    """The two splits as they are."""
    folder.mkdir(parents=True)
    names = tuple(f"x{i}" for i in range(features.shape[1]))
    for split, matrix, wanted in (("train", features, target), ("test", test_features, test_target)):
        table = pl.DataFrame(matrix.astype(np.float32), schema=list(names))
        dtype = pl.Int64 if classes else pl.Float64
        table.with_columns(pl.Series("__target__", wanted).cast(dtype)).write_parquet(folder / f"{split}.parquet")
    return PreparedData(
        path=folder,
        dataset="table",
        task=Task.CLASSIFICATION if classes else Task.REGRESSION,
        target=Column(name="y", dtype=DType.STRING if classes else DType.FLOAT),
        classes=tuple(classes),
        columns=tuple(Column(name=name, dtype=DType.FLOAT) for name in names),
        features=names,
        rows_train=len(target),
        rows_test=len(test_target),
    )
