"""Stored predictions as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions

Array = np.ndarray[Any, Any]


def weights_of(table: pl.DataFrame) -> Array | None:
    """Return the weights of the rows of stored predictions, [N]; None if all count the same."""
    return table["weight"].to_numpy() if "weight" in table.columns else None


def labelled_rows(table: pl.DataFrame, classes: tuple[str, ...]) -> tuple[pl.DataFrame, Predictions, Array]:
    """Return the rows whose target is known, their predictions, and their targets, [N].

    Classes are indices of ``classes``; a row of a class that the model was not trained on is left out.
    """
    labelled = table.filter(pl.col("target").is_in(classes) if classes else pl.col("target").is_not_null())
    if not classes:
        return labelled, Predictions(values=labelled["prediction"].to_numpy()), labelled["target"].to_numpy()
    probabilities = labelled.select(f"probability_{name}" for name in classes).to_numpy()
    return (
        labelled,
        Predictions(values=_indices(labelled["prediction"], classes), probabilities=probabilities),
        _indices(labelled["target"], classes),
    )


def _indices(names: pl.Series, classes: tuple[str, ...]) -> Array:
    return names.cast(pl.Enum(classes)).to_physical().cast(pl.Int64).to_numpy()
