"""What a trained model says of rows, through the ONNX graphs that are served."""

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


class Answers:
    """A trained model that can be asked, about rows as preprocessing made them and about raw ones."""

    def __init__(self, data: PreparedData, model: TrainedModel) -> None:
        self._data, self._model = data, model

    def of_features(self, features: Array) -> Predictions:
        """For features, float32 [N, F]: what the model's own graph says."""
        names = [output.name for output in self._session.get_outputs()]
        parts = np.array_split(features, max(1, -(-len(features) // _ROWS_AT_ONCE)))
        runs = [self._session.run(names, {"features": part}) for part in parts]
        found = {name: np.concatenate([run[k] for run in runs]) for k, name in enumerate(names)}
        if not self._data.classes:
            return Predictions(values=found["prediction"].reshape(-1).astype(np.float64))
        return Predictions(values=found["label"], probabilities=_exact(found["probabilities"]))

    def of_raw(self, raw: Mapping[str, Array]) -> Predictions:
        """For a tensor [N, 1] of each raw column: what the bundle says that a cluster serves."""
        values, *probabilities = self.served.run(dict(raw))
        if not probabilities:
            return Predictions(values=values.reshape(-1).astype(np.float64))
        places = {name: k for k, name in enumerate(self._data.classes)}
        indices = np.array([places[name] for name in values.reshape(-1).tolist()], dtype=np.int64)
        return Predictions(values=indices, probabilities=_exact(probabilities[0]))

    @cached_property
    def served(self) -> Scorer:
        """The bundle, loaded as a server does."""
        with tempfile.TemporaryDirectory() as folder:
            bundling.build(self._data, self._model, Path(folder))
            return scorer.load(Path(folder))

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # sums in one order, so that the same rows give the same numbers
        model = (self._model.path / "model.onnx").read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _exact(probabilities: Array) -> Array:
    """Of 32-bit floats the sum is not quite 1."""
    exact = probabilities.astype(np.float64)
    scaled: Array = exact / exact.sum(axis=1, keepdims=True)
    return scaled
