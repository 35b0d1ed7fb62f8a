"""ONNX of what LightGBM has trained."""

from __future__ import annotations

import re
from typing import Any

import lightgbm
import numpy as np
import onnx
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

# The sizes in bytes of the trees are an index that may be left out; it is wrong once a threshold is written anew.
_TREE_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_THRESHOLDS = re.compile(r"^threshold=(.*)$", re.MULTILINE)


def to_graph(estimator: Any, n_features: int) -> onnx.ModelProto:
    """The graph of a fitted regressor or classifier: prediction [N, 1], or probabilities [N, k] as the last output.

    The exporter rounds thresholds to the nearest 32-bit float, which sends rows that lie on the rounded threshold
    into the wrong branch. Rounded down, a threshold parts all 32-bit numbers as the 64-bit one does.
    """
    text = _TREE_SIZES.sub("", estimator.booster_.model_to_string())
    booster = lightgbm.Booster(model_str=_THRESHOLDS.sub(_rounded_down, text))
    shape = [("features", FloatTensorType([None, n_features]))]
    graph: onnx.ModelProto = convert_lightgbm(booster, initial_types=shape, zipmap=False)
    return graph


def _rounded_down(line: re.Match[str]) -> str:
    exact = np.array(line[1].split(), dtype=np.float64)
    near = exact.astype(np.float32)
    down = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    return "threshold=" + " ".join(repr(float(value)) for value in down)
