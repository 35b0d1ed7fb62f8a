"""Stage prediction: batch predictions of a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from when_ml_pipeline_meets_hydra.contracts import Progress, Wanted, agreed, agreed_with_data
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import StoredModel
from when_ml_pipeline_meets_hydra.errors import PipelineError, Problem, StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, Remote
from when_ml_pipeline_meets_hydra.ml.evaluation import COVERAGE, Predicted, PredictionIntervals
from when_ml_pipeline_meets_hydra.ml.inputs.data_set import DataSet
from when_ml_pipeline_meets_hydra.ml.inputs.held_out import HeldOut
from when_ml_pipeline_meets_hydra.ml.inputs.interface import Batch, PredictionRows
from when_ml_pipeline_meets_hydra.ml.intervals import Interval, are_wanted
from when_ml_pipeline_meets_hydra.ml.metrics.interface import NONE, Metrics

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.serving.bundle_predictions import Predictor


def _fit_dataset(dataset: Dataset | None, rows: Any) -> Iterable[Problem]:
    """Rows of another data set have the columns and types of the training data, as far as these are known by now."""
    if not isinstance(rows, DataSet) or dataset is None:
        return ()
    if isinstance(dataset, Remote):
        return rows.misfits(dataset.to_predict()) if hasattr(dataset, "to_predict") else ()
    from when_ml_pipeline_meets_hydra.ml.datasets.table import table

    trained = table(dataset.rows(), with_empty=False)
    return rows.misfits(trained)


def _fit_stored(stored_model: StoredModel, rows: Any, interval: Interval) -> Iterator[Problem]:
    """Rows of another data set have the columns and types of the stored model's training data; intervals are stored."""
    try:
        prepared, _ = stored_model.artifacts()
    except PipelineError:  # reported by the model itself
        return
    if isinstance(rows, DataSet):
        yield from rows.misfits(prepared)
    if interval.coverage is not None and interval.coverage not in (known := _stored_intervals(stored_model)):
        message = "the store has no such intervals of this model"
        there = ", ".join(f"{coverage:g}" for coverage in sorted(known))
        remedy = f"Stored is {there}" if there else "c=intervals with the model's own options makes them"
        yield Problem(key="interval.coverage", value=str(interval.coverage), message=message, remedy=remedy)


def _are_named(metrics: Metrics | None) -> Iterable[Problem]:
    return metrics.problems() if metrics else ()


@agreed(_are_named)
@agreed_with_data(_fit_dataset)
def predict(
    preprocessing: PreparedData,
    modeling: TrainedModel,
    rows: PredictionRows,
    intervals: Annotated[PredictionIntervals | None, Wanted(are_wanted, or_requested=True)] = None,
    metrics: Metrics = NONE,
    *,
    out: Path,
    progress: Progress,
) -> Predicted:
    """Predict rows: held-out ones, or those of another data set.

    Raises:
        BadInput: a column that the model needs is not there.
        StepFailed: there is no row, or a prediction is not a finite number.
    """
    return _predict(preprocessing, modeling, intervals, rows, metrics, out, progress)


@agreed(_are_named)
@agreed_with_data(_fit_stored)
def predict_stored(
    stored_model: StoredModel,
    rows: PredictionRows,
    interval: Interval,
    metrics: Metrics = NONE,
    *,
    out: Path,
    progress: Progress,
) -> Predicted:
    """Predict rows with a model that was trained before; its training data are not needed.

    With ``interval.coverage`` the predictions have the intervals that were stored for the model.

    Raises:
        BadInput: the model is not in the store, or a column that it needs is not there.
        StepFailed: there is no row, or a prediction is not a finite number.
    """
    preprocessing, modeling = stored_model.artifacts()
    intervals = None if interval.coverage is None else _stored_intervals(stored_model)[interval.coverage]
    return _predict(preprocessing, modeling, intervals, rows, metrics, out, progress)


def _stored_intervals(stored_model: StoredModel) -> Mapping[float, PredictionIntervals]:
    find: Callable[[], Mapping[float, PredictionIntervals]] = getattr(stored_model, "intervals", dict)
    return find()


def _predict(
    preprocessing: PreparedData,
    modeling: TrainedModel,
    intervals: PredictionIntervals | None,
    rows: PredictionRows,
    metrics: Metrics,
    out: Path,
    progress: Progress,
) -> Predicted:
    import polars as pl

    from when_ml_pipeline_meets_hydra.serving.bundle_predictions import Predictor

    predictor = Predictor(preprocessing, modeling)
    parts: list[pl.DataFrame] = []
    done = 0
    weight: str | None = None
    for batch in rows.batches(preprocessing, out):
        parts.append(_predicted(batch, done, predictor, preprocessing.classes))
        done += len(batch.target)
        weight = weight if batch.weights is None else batch.weights.name
        progress(done, None, "rows")
    if not done:
        raise StepFailed(f"{rows.name}: there is no row to predict")
    table = pl.concat(parts)
    _refuse_not_finite(table, rows.name)
    table = table if intervals is None else _with_intervals(table, intervals)
    table.write_parquet(out / "predictions.parquet")
    known, scores = _scores(table, preprocessing.classes, modeling.quantile, metrics)
    shown = "".join(f", {name} {value:.4g}" for name, value in scores.items())
    shown += f", weighted by {weight}" if scores and weight else ""
    print(f"{modeling.model} on {rows.name}: {table.height:,} rows predicted{shown}")
    return Predicted(
        path=out,
        rows_of=rows.name,
        task=preprocessing.task,
        classes=preprocessing.classes,
        rows=table.height,
        known=known,
        held_out=isinstance(rows, HeldOut),
        scores=scores,
        weight=weight,
    )


def _predicted(batch: Batch, first: int, predictor: Predictor, classes: tuple[str, ...]) -> pl.DataFrame:
    import polars as pl

    raw, features = batch.raw or {}, batch.features
    predicted = predictor.predict_raw(raw) if features is None else predictor.predict_features(features)
    consecutive = pl.int_range(first, first + len(batch.target), eager=True)
    columns = {"row": consecutive if batch.numbers is None else batch.numbers}
    columns |= {} if batch.ids is None else {"id": batch.ids}
    columns |= {"target": batch.target}
    columns |= {} if batch.weights is None else {"weight": batch.weights}
    if predicted.probabilities is None:
        return pl.DataFrame({**columns, "prediction": predicted.values})
    names = pl.Series([classes[k] for k in predicted.values.tolist()], dtype=pl.String)
    probabilities = {f"probability_{name}": predicted.probabilities[:, k] for k, name in enumerate(classes)}
    return pl.DataFrame({**columns, "prediction": names, **probabilities})


def _with_intervals(table: pl.DataFrame, intervals: PredictionIntervals) -> pl.DataFrame:
    import polars as pl

    ends = {"lower": pl.col("prediction") - intervals.distance, "upper": pl.col("prediction") + intervals.distance}
    return table.with_columns(**ends)


def _refuse_not_finite(table: pl.DataFrame, name: str) -> None:
    import polars as pl
    import polars.selectors as cs

    numbers = cs.float() - cs.by_name("target", "weight", require_all=False)
    wrong = table.select(pl.any_horizontal(~numbers.is_finite()).arg_true()).to_series()
    if len(wrong):
        raise StepFailed(f"{name}, row {table['row'][wrong[0]]}: the prediction is not a finite number")


def _scores(
    table: pl.DataFrame, classes: tuple[str, ...], quantile: float | None, own: Metrics
) -> tuple[int, dict[str, float]]:
    """The number of rows whose target is known to the model, and the metrics on those."""
    import numpy as np
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import labelled_rows, weights_of

    known, predicted, target = labelled_rows(table, classes)
    if not known.height:
        return 0, {}
    from when_ml_pipeline_meets_hydra.ml.metrics.interface import ScoredRows
    from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate

    weights = weights_of(known)
    further, _ = own.scores(ScoredRows.of(target, predicted, classes, weights))
    scores = {**evaluate(target, predicted, weights, quantile), **further}
    if "lower" in known.columns:
        is_inside = known.select(pl.col("target").is_between("lower", "upper")).to_series().to_numpy()
        scores[COVERAGE] = float(np.average(is_inside, weights=weights))
    return known.height, scores
