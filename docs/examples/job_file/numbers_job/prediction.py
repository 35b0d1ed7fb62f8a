"""Predict parts of the data with a trained classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from numbers_job.data import Numbers
from numbers_job.training import Classifier
from when_ml_pipeline_meets_hydra import Artifact, frozen


class VectorHandler:
    """Makes a column of each number that the model returns for an image."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def columns(self, vectors: Any) -> dict[str, Any]:
        """Return the columns of ``vectors`` (images × classes)."""
        return {f"{self.prefix}{number}": vectors[:, number] for number in range(vectors.shape[1])}


@frozen
class Predictions(Artifact):
    """A Parquet file for each part: the class and the predictions of each image."""

    parts: tuple[str, ...]
    rows: NonNegativeInt


def predict(
    train: Classifier,
    dataset: Numbers,
    prediction_handler: VectorHandler,
    datasets: dict[str, bool],
    batch_size: PositiveInt,
    *,
    out: Path,
) -> Predictions:
    """Predict the parts in ``datasets`` in batches, with the exported model."""
    import numpy as np
    import onnxruntime
    import polars as pl

    session = onnxruntime.InferenceSession(train.path / "model.onnx", providers=["CPUExecutionProvider"])
    name, rows = session.get_inputs()[0].name, 0
    parts = tuple(part for part, is_wanted in datasets.items() if is_wanted)
    for part in parts:
        x, y = dataset.rows(part)
        batches = [session.run(None, {name: x[n : n + batch_size]})[1] for n in range(0, len(x), batch_size)]
        columns = prediction_handler.columns(np.concatenate(batches))
        pl.DataFrame({"class": y, **columns}).write_parquet(out / f"{part}.parquet")
        rows += len(y)
    print(f"{rows} images predicted, of {' and '.join(parts)}")
    return Predictions(path=out, parts=parts, rows=rows)
