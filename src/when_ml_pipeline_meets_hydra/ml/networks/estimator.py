"""A trained network as other trained models are: it predicts, and can be written down as ONNX."""

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
        # Sums of 32-bit numbers depend on their order; what the ONNX graph is compared with does not.
        self._exact = copy.deepcopy(self.net).double()

    def predict(self, features: Array) -> Array:
        """The outputs: of a regression [N, 1]."""
        with torch.no_grad():
            parts = np.array_split(features, max(1, -(-len(features) // _ROWS_AT_ONCE)))
            return np.concatenate([self._exact(torch.from_numpy(p.astype(np.float64))).numpy() for p in parts])


class TrainedClassifier(Trained):
    """A network for classes; ``classes_`` are the indices of those that it knows."""

    def __init__(self, net: nn.Module, classes: Array, history: Mapping[str, Any]) -> None:
        super().__init__(net, history)
        self.classes_ = classes

    def predict(self, features: Array) -> Array:
        """The indices of the most likely classes, [N]."""
        found: Array = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return found

    def predict_proba(self, features: Array) -> Array:
        """The probabilities, [N, K], of ``classes_``."""
        return super().predict(features)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter has to say is for its authors; its result is compared with the network."""
    talkers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch")]
    levels = [talker.level for talker in talkers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for talker in talkers:
            talker.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for talker, level in zip(talkers, levels, strict=True):
                talker.setLevel(level)


def to_graph(net: nn.Module, n_features: int) -> onnx.ModelProto:
    """The ONNX graph of a network that takes float32 [N, F]."""
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
        del node.metadata_props[:]  # the lines of source that made it, with their folders
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    return graph
