"""Stage intervals: how far from its prediction a number may be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.contracts import agreed, agreed_with_data
from when_ml_pipeline_meets_hydra.errors import Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, Remote
from when_ml_pipeline_meets_hydra.ml.evaluation import PredictionIntervals, Validated
from when_ml_pipeline_meets_hydra.ml.intervals import Interval

_CLASSES = "the target is a class, and intervals are for numbers; classes have probabilities"


def _coverage_is_given(interval: Interval) -> Iterable[Problem]:
    if interval.coverage is None:
        remedy = "Add interval.coverage=0.9"
        yield Problem(key="interval.coverage", message="a value is needed: intervals reads it", remedy=remedy)


def _is_number(interval: Interval, dataset: Dataset | None) -> Iterable[Problem]:
    """Intervals are for numbers, as far as the kind of the target is known by now."""
    if dataset is None or isinstance(dataset, Remote):
        return
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table

    if table(dataset.rows(), with_empty=False).task is Task.CLASSIFICATION:
        yield Problem(
            key="interval.coverage",
            value=str(interval.coverage),
            message=_CLASSES,
            remedy="Leave interval.coverage out",
        )


@agreed(_coverage_is_given)
@agreed_with_data(_is_number)
def conformal(
    interval: Interval, preprocessing: PreparedData, modeling: TrainedModel, validation: Validated, *, out: Path
) -> PredictionIntervals:
    """Find the distance from a prediction within which the target is, and how often it is on the held-out rows.

    The errors are those of the out-of-fold predictions, so that time and groups are kept apart as in validation. Rows
    count by their weights, if they have any.

    Raises:
        StepFailed: the target is a class, or there are too few out-of-fold predictions.
    """
    import numpy as np
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import weights_of
    from when_ml_pipeline_meets_hydra.ml.intervals import distance

    if preprocessing.task is not Task.REGRESSION or interval.coverage is None:
        raise StepFailed(f"{preprocessing.dataset}: {_CLASSES}")
    left_out = pl.read_parquet(validation.path / "predictions.parquet")
    rows = left_out["row"].n_unique()
    found = distance(_errors(left_out), rows, interval.coverage, weights_of(left_out))
    held_out = pl.read_parquet(modeling.path / "predictions.parquet")
    inside = float(np.average(_errors(held_out) <= found, weights=weights_of(held_out)))
    metrics = {"coverage": inside, "interval_width": 2 * found}
    content = {"coverage": interval.coverage, "distance": found, "rows": rows, "metrics": metrics}
    (out / "intervals.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(
        f"{modeling.model}: intervals of {interval.coverage:.4g} reach {found:.4g} below and above a prediction "
        f"({rows:,} out-of-fold errors), coverage {inside:.4g} of {held_out.height:,} held-out rows"
        f"{f', weighted by {preprocessing.weight}' if preprocessing.weight else ''}"
    )
    return PredictionIntervals(path=out, coverage=interval.coverage, distance=found, rows=rows, metrics=metrics)


def _errors(predictions: Any) -> Any:
    return (predictions["target"] - predictions["prediction"]).abs().to_numpy()
