"""Predictions of a trained model, computed by the ONNX graphs that are served."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions
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
        names = [output.name for output in self._session.get_outputs()]
        parts = np.array_split(features, max(1, -(-len(features) // _ROWS_AT_ONCE)))
        runs = [self._session.run(names, {"features": part}) for part in parts]
        outputs = {name: np.concatenate([run[k] for run in runs]) for k, name in enumerate(names)}
        if not self._data.classes:
            return Predictions(values=outputs["prediction"].reshape(-1).astype(np.float64))
        return Predictions(values=outputs["label"], probabilities=_normalized(outputs["probabilities"]))

    def predict_raw(self, raw: Mapping[str, Array]) -> Predictions:
        """Return the predictions of the served bundle for raw columns, a tensor [N, 1] each."""
        values, *probabilities = self.bundle_scorer.run(dict(raw))
        if not probabilities:
            return Predictions(values=values.reshape(-1).astype(np.float64))
        positions = {name: k for k, name in enumerate(self._data.classes)}
        indices = np.array([positions[name] for name in values.reshape(-1).tolist()], dtype=np.int64)
        return Predictions(values=indices, probabilities=_normalized(probabilities[0]))

    @cached_property
    def bundle_scorer(self) -> Scorer:
        """The bundle, loaded as by a server."""
        with tempfile.TemporaryDirectory() as folder:
            bundling.build(self._data, self._model, Path(folder))
            return scorer.load(Path(folder))

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a fixed order of summation, for reproducible predictions
        model = (self._model.path / "model.onnx").read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _normalized(probabilities: Array) -> Array:
    # 32-bit floats do not quite sum to 1.
    normalized = probabilities.astype(np.float64)
    scaled: Array = normalized / normalized.sum(axis=1, keepdims=True)
    return scaled
