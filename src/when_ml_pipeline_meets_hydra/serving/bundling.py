"""Build a bundle, the directory that a cluster serves, from prepared data and a trained model."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml import onnx_size
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Image, PreparedData, Reading, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import PredictionIntervals
from when_ml_pipeline_meets_hydra.ml.profiles.distributions import Distribution, Summary, of_numbers
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, Smoke, write_smoke
from when_ml_pipeline_meets_hydra.serving.formats.manifest import (
    FORMAT,
    MODEL,
    Datatype,
    Interval,
    Manifest,
    Output,
    Provenance,
    describe_files,
    digest_of,
    write_manifest,
)
from when_ml_pipeline_meets_hydra.serving.formats.reference import read_summary, write_training
from when_ml_pipeline_meets_hydra.storage.durable_files import sha256

if TYPE_CHECKING:
    import polars as pl

SMOKE_ROWS = 100
_columns = TypeAdapter(tuple[Column, ...])
_reading = TypeAdapter(Reading)


def source_digest(
    preprocessing: PreparedData, modeling: TrainedModel, intervals: PredictionIntervals | None = None
) -> str:
    """Return the SHA-256 of everything that a bundle is built from; cheap, and imports no ML library."""
    digest = _digest_of_model(preprocessing, modeling)
    return digest if intervals is None else digest_of({"model": digest, "interval": asdict(_interval(intervals))})


def _interval(intervals: PredictionIntervals) -> Interval:
    return Interval(coverage=intervals.coverage, distance=intervals.distance)


def _digest_of_model(preprocessing: PreparedData, modeling: TrainedModel) -> str:
    return digest_of(
        {
            "format": FORMAT,
            "preprocessing": sha256(preprocessing.path / "preprocessing.onnx"),
            "summary": sha256(preprocessing.path / "summary.json"),
            "holdout": sha256(preprocessing.path / "holdout.parquet"),
            "model": sha256(modeling.path / "model.onnx"),
            "predictions": sha256(modeling.path / "predictions.parquet"),
            "facts": _facts(preprocessing, modeling),
        }
    )


def _facts(preprocessing: PreparedData, modeling: TrainedModel) -> Mapping[str, Any]:
    columns = (preprocessing.target, *preprocessing.columns)
    return {
        "dataset": preprocessing.dataset,
        "task": preprocessing.task.value,
        "classes": list(preprocessing.classes),
        "columns": _columns.dump_python(columns, mode="json"),
        "reading": _reading.dump_python(preprocessing.reading, mode="json"),
        "model": modeling.model,
        "metrics": dict(modeling.metrics),
        "baseline": dict(modeling.baseline),
        "spread": modeling.spread,
        "decision": modeling.decision and [modeling.decision.positive, modeling.decision.threshold],
        **({"image": list(image.shape)} if (image := _decoded(preprocessing)) else {}),
    }


def _decoded(preprocessing: PreparedData) -> Image | None:
    """Return the image whose pixels the columns are, if they are those of a file."""
    return preprocessing.image if preprocessing.image and preprocessing.image.decoded else None


def build(
    preprocessing: PreparedData, modeling: TrainedModel, out: Path, intervals: PredictionIntervals | None = None
) -> Smoke:
    """Write the bundle of a model into the empty directory ``out``, and verify it on all held-out raw rows.

    Returns:
        The held-out raw rows in the bundle, at most 100, and training's predictions for them.

    Raises:
        StepFailed: the graphs do not fit each other, the bundle's predictions differ from training's, or it is too
            large for ONNX.
    """
    from when_ml_pipeline_meets_hydra.serving.engine import scorer
    from when_ml_pipeline_meets_hydra.serving.formats import graph

    outputs = _outputs(preprocessing)
    parts = (preprocessing.path / "preprocessing.onnx", modeling.path / "model.onnx")
    bundled, remedy = f"The bundle of {modeling.model}", "train a smaller model (modeling/param=small)"
    onnx_size.check(sum(part.stat().st_size for part in parts), bundled, remedy)
    joined = graph.join(
        *parts,
        outputs={role: output.name for role, output in outputs.items()},
        classes=preprocessing.classes,
        is_image=_decoded(preprocessing) is not None,
    )
    (out / MODEL).write_bytes(onnx_size.serialised(joined, bundled, remedy))
    held_out = held_out_rows(preprocessing, modeling)
    smoke = _first(held_out, SMOKE_ROWS)
    write_smoke(out, smoke)
    write_training(out, _training(preprocessing, modeling))
    write_manifest(out, _manifest(preprocessing, modeling, intervals, tuple(outputs.values()), out))
    if wrong := held_out.difference(scorer.load(out).predict(held_out.rows)):
        raise StepFailed(f"The predictions of the bundled model differ from training's on held-out rows: {wrong}")
    return smoke


def _outputs(data: PreparedData) -> Mapping[str, Output]:
    """Return the graph's outputs by role; an output must not have the name of a raw column."""
    columns = {column.name for column in data.columns}

    def output(role: str, datatype: Datatype, *shape: int) -> Output:
        name = f"predicted_{role}" if role in columns else role
        return Output(name=name, datatype=datatype, shape=(-1, *shape))

    if data.task is Task.REGRESSION:
        return {"prediction": output("prediction", Datatype.FP64, 1)}
    return {
        "label": output("label", Datatype.BYTES),
        "probabilities": output("probabilities", Datatype.FP32, len(data.classes)),
    }


def _manifest(
    preprocessing: PreparedData,
    modeling: TrainedModel,
    intervals: PredictionIntervals | None,
    outputs: tuple[Output, ...],
    out: Path,
) -> Manifest:
    return Manifest(
        dataset=preprocessing.dataset,
        task=preprocessing.task,
        target=preprocessing.target,
        classes=preprocessing.classes,
        inputs=preprocessing.columns,
        reading=preprocessing.reading,
        image=_decoded(preprocessing),
        outputs=outputs,
        model=modeling.model,
        metrics=modeling.metrics,
        baseline=modeling.baseline,
        spread=modeling.spread,
        interval=_interval(intervals) if intervals else None,
        decision=modeling.decision,
        source=source_digest(preprocessing, modeling, intervals),
        files=describe_files(out),
        provenance=Provenance(
            preprocessing=preprocessing.path.parent.name,
            modeling=modeling.path.parent.name,
            package=importlib.metadata.version("when_ml_pipeline_meets_hydra"),
            created=datetime.now(UTC),
        ),
    )


def held_out_rows(preprocessing: PreparedData, modeling: TrainedModel) -> Smoke:
    """Return the raw held-out rows as a client would send them, with training's predictions."""
    import polars as pl

    raw = pl.read_parquet(preprocessing.path / "holdout.parquet")
    predicted = pl.read_parquet(modeling.path / "predictions.parquet").head(raw.height)
    columns = preprocessing.columns
    rows = [{column.name: _json_value(row[column.name], column.format) for column in columns} for row in raw.to_dicts()]
    expected = _training_predictions(predicted, preprocessing.classes)
    return Smoke(rows=tuple(rows), expected=expected, spread=modeling.spread, decision=modeling.decision)


def _training(preprocessing: PreparedData, modeling: TrainedModel) -> Summary:
    """Return the distributions of the training columns and of the predictions for held-out rows."""
    import numpy as np
    import polars as pl

    columns = read_summary(preprocessing.path / "summary.json").columns
    predicted = pl.read_parquet(modeling.path / "predictions.parquet", columns=["prediction"])["prediction"]
    if not (classes := preprocessing.classes):
        return Summary(columns=columns, prediction=of_numbers(predicted.to_numpy()))
    names = np.array([classes[index] for index in predicted.to_list()], dtype=object)
    empty = Distribution(values=classes, counts=(0,) * (len(classes) + 1))
    return Summary(columns=columns, prediction=empty.count(names))


def _json_value(value: Any, form: str | None) -> Any:
    """A value as a client sends it: dates in the format of their column."""
    if isinstance(value, date):
        return value.isoformat() if form is None else value.strftime(form.replace("%z", "+00:00"))
    return None if isinstance(value, float) and math.isnan(value) else value


def _training_predictions(table: pl.DataFrame, classes: tuple[str, ...]) -> Predictions:
    if not classes:
        return Predictions(values=tuple(map(float, table["prediction"].to_list())))
    names = [classes[index] for index in table["prediction"].to_list()]
    probabilities = table.select([f"probability_{name}" for name in classes]).rows()
    return Predictions(values=tuple(names), probabilities=tuple(probabilities))


def _first(smoke: Smoke, count: int) -> Smoke:
    expected = smoke.expected
    probabilities = expected.probabilities[:count] if expected.probabilities is not None else None
    return Smoke(
        rows=smoke.rows[:count],
        expected=Predictions(values=expected.values[:count], probabilities=probabilities),
        spread=smoke.spread,
        decision=smoke.decision,
    )
