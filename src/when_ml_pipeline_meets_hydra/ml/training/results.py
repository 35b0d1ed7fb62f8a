"""The result of a training: the exported model, and its predictions and metrics on the held-out rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.ml.artifacts import Decision, PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.metrics.interface import NONE, Metrics, ScoredRows
from when_ml_pipeline_meets_hydra.ml.metrics.scores import evaluate, pinball, shown, undefined
from when_ml_pipeline_meets_hydra.ml.training import graph, predictions
from when_ml_pipeline_meets_hydra.ml.training.decisions import described
from when_ml_pipeline_meets_hydra.ml.training.matrices import Matrices, read_split
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions
from when_ml_pipeline_meets_hydra.ml.training.quantiles import quantile_of

Array = np.ndarray[Any, Any]
_HISTORY, _MEMBERS = "history.json", "members.json"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model's serialised standard graph, and what is known of it; see ``TrainedModel``."""

    graph: bytes
    model: str
    quantile: float | None = None
    spread: float | None = None
    decision: Decision | None = None


def evaluated(
    exported: Exported, data: PreparedData, known: Matrices, predicted: Predictions, out: Path, own: Metrics = NONE
) -> TrainedModel:
    """Write the graph, its predictions and its metrics into ``out``, with those of a naive baseline; print the metrics.

    Args:
        exported: the model.
        data: the prepared data.
        known: the training rows.
        predicted: the graph's predictions for the held-out rows.
        out: an empty folder.
        own: further metrics.
    """
    held_out, classes, quantile = read_split(data, "test"), data.classes, exported.quantile
    target, weights = held_out.target, held_out.weights

    def scores(of: Predictions) -> tuple[dict[str, float], dict[str, str]]:
        further, without = own.scores(ScoredRows.of(target, of, classes, weights))
        computed = {**evaluate(target, of, weights, quantile), **further}
        return computed, {**undefined(target, of), **without}

    metrics, without = scores(predicted)
    baseline, _ = scores(predictions.naive(data.task, known.target, len(target), len(classes), known.weights))
    if quantile is not None:  # the best constant is another one
        constant = np.full(len(target), quantile_of(known.target, quantile, known.weights))
        baseline["pinball"] = pinball(target, constant, quantile, weights)
    (out / "model.onnx").write_bytes(exported.graph)
    predictions.write(out / "predictions.parquet", target, predicted, classes, weights)
    text = json.dumps({"metrics": metrics, "baseline": baseline}, indent=2, allow_nan=False)
    (out / "metrics.json").write_text(text + "\n", encoding="utf-8")
    if exported.decision:
        print(f"{exported.model}: {described(exported.decision, classes)}")
    print(f"{exported.model} on held-out rows: {shown(metrics, baseline, without)}")
    return TrainedModel(
        path=out,
        model=exported.model,
        task=data.task,
        metrics=metrics,
        baseline=baseline,
        spread=exported.spread,
        quantile=quantile,
        decision=exported.decision,
        further=own.directions,
    )


def decided(
    trained: TrainedModel, data: PreparedData, decision: Decision | None, own: Metrics, out: Path
) -> TrainedModel:
    """Evaluate a trained model again: with a decision between two classes, and further metrics."""
    serialised = (trained.path / "model.onnx").read_bytes()
    if decision:
        serialised = graph.with_decision(serialised, decision)
    predicted = graph.exported_predictions(serialised, read_split(data, "test").rows)
    for name in (_HISTORY, _MEMBERS):
        if (file := trained.path / name).exists():
            (out / name).write_bytes(file.read_bytes())
    exported = Exported(
        graph=serialised, model=trained.model, quantile=trained.quantile, spread=trained.spread, decision=decision
    )
    return evaluated(exported, data, read_split(data, "train"), predicted, out, own)


def write_history(history: Mapping[str, Any] | None, out: Path) -> None:
    """Write the losses of an iterative training, if all of them are finite; see ``Model.fit``."""
    losses = [loss for values in history["losses"].values() for loss in values] if history else []
    if losses and np.isfinite(losses).all():
        text = json.dumps(history, indent=1, allow_nan=False)
        (out / _HISTORY).write_text(text + "\n", encoding="utf-8")


def write_members(estimator: Any, out: Path) -> None:
    """Write what a mean of models consists of, and print its summary; see ``Model.fit``."""
    if members := getattr(estimator, "members_", None):
        (out / _MEMBERS).write_text(json.dumps(members, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(estimator.summary_)
