"""Predictions of a trained model, computed by the ONNX graphs that are served."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.training import graph
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions, from_probabilities
from when_ml_pipeline_meets_hydra.serving import bundling
from when_ml_pipeline_meets_hydra.serving.engine import scorer
from when_ml_pipeline_meets_hydra.serving.engine.scorer import Scorer

Array = np.ndarray[Any, Any]
_ROWS_AT_ONCE = 65_536


class Predictor:
    """Predicts with a trained model, from preprocessed features or from raw columns."""

    def __init__(self, data: PreparedData, model: TrainedModel) -> None:
        self._data, self._model = data, model

    def predict_features(self, features: Array) -> Predictions:
        """Return the predictions of the model's own graph for features, float32 [N, F]."""
        parts = np.array_split(features, max(1, -(-len(features) // _ROWS_AT_ONCE)))
        made = [graph.predict(self._session, part) for part in parts]
        values = np.concatenate([part.values for part in made])
        if not self._data.classes:
            return Predictions(values=values)
        probabilities = [part.probabilities for part in made if part.probabilities is not None]
        return Predictions(values=values, probabilities=np.concatenate(probabilities))

    def predict_raw(self, raw: Mapping[str, Array]) -> Predictions:
        """Return the predictions of the served bundle for raw columns, a tensor [N, 1] each."""
        values, *probabilities = self.bundle_scorer.run(dict(raw))
        if not probabilities:
            return Predictions(values=values.reshape(-1).astype(np.float64))
        places = {name: k for k, name in enumerate(self._data.classes)}
        labels = np.array([places[name] for name in values.reshape(-1).tolist()], dtype=np.int64)
        predicted = from_probabilities(probabilities[0].astype(np.float64))
        return Predictions(values=labels, probabilities=predicted.probabilities)

    @cached_property
    def bundle_scorer(self) -> Scorer:
        """The bundle, loaded as by a server."""
        with tempfile.TemporaryDirectory() as folder:
            bundling.build(self._data, self._model, Path(folder))
            return scorer.load(Path(folder))

    @cached_property
    def _session(self) -> Any:
        return graph.session((self._model.path / "model.onnx").read_bytes())
