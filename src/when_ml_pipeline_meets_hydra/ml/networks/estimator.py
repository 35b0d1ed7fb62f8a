"""A trained network with scikit-learn's interface, and its export to ONNX."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from when_ml_pipeline_meets_hydra.ml.artifacts import ONNX_OPSET

Array = np.ndarray[Any, Any]
_ROWS_AT_ONCE = 4096


class Trained:
    """A network whose outputs are predictions [N, 1] or probabilities [N, K]."""

    def __init__(self, net: nn.Module, history: Mapping[str, Any]) -> None:
        self.net, self.history_ = net.cpu().eval(), history
        # 64-bit: the reference for the ONNX graph must not depend on the order of 32-bit sums.
        self._exact = copy.deepcopy(self.net).double()

    def predict(self, features: Array) -> Array:
        """Return the outputs: [N, 1] for a regression."""
        with torch.no_grad():
            parts = np.array_split(features, max(1, -(-len(features) // _ROWS_AT_ONCE)))
            return np.concatenate([self._exact(torch.from_numpy(p.astype(np.float64))).numpy() for p in parts])


class TrainedClassifier(Trained):
    """A network for classes; ``classes_`` are the indices of the classes in the training rows."""

    def __init__(self, net: nn.Module, classes: Array, history: Mapping[str, Any]) -> None:
        super().__init__(net, history)
        self.classes_ = classes

    def predict(self, features: Array) -> Array:
        """Return the indices of the most likely classes, [N]."""
        predicted: Array = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return predicted

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], of ``classes_``."""
        return super().predict(features)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's warnings, since its result is compared with the network."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def to_graph(net: nn.Module, n_features: int) -> onnx.ModelProto:
    """Convert a network that takes float32 [N, F] to ONNX."""
    example = torch.zeros(2, n_features)
    with _quiet():
        program: Any = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=ONNX_OPSET,
            input_names=["features"],
            output_names=["outputs"],
            dynamic_shapes=({0: torch.export.Dim("rows", min=1)},),
            verbose=False,
        )
    graph: onnx.ModelProto = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # source lines and paths of this machine
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    return graph
