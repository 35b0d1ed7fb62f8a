"""Models that take each category as a feature of its own are trained without those of rare ones."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.models.interface import Estimator, Model

Array = np.ndarray[Any, Any]
_INSIDE, _INPUT, _PLACES = "kept/", "features", "places"


class Kept:
    """A fitted ``inner`` estimator of the features at ``places`` [f]; it predicts from all of them."""

    def __init__(self, inner: Estimator, places: Array) -> None:
        self.inner, self.places = inner, places

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def predict(self, features: Array) -> Array:
        """Return the predictions, [N], for features [N, F]."""
        return self.inner.predict(features[:, self.places])

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities, [N, K], for features [N, F]."""
        probabilities: Array = self.__getattr__("predict_proba")(features[:, self.places])
        return probabilities


def places(model: Model, n_features: int, rare: Collection[int]) -> Array | None:
    """Return the features that the model gets, [f] indices; None: all, as if its ``fit`` has the parameter ``one_hot``.

    ``rare`` are those of rare categories.
    """
    if not rare or "one_hot" in inspect.signature(model.fit).parameters:
        return None
    return np.setdiff1d(np.arange(n_features), list(rare))


def export(model: Model, estimator: Estimator, n_features: int) -> onnx.ModelProto:
    """Convert an estimator, which may be of some features, to ONNX with all of them; see ``Model.export``."""
    if not isinstance(estimator, Kept):
        return model.export(estimator, n_features)
    made = compose.add_prefix(model.export(estimator.inner, len(estimator.places)), _INSIDE)
    inner, tensors = made.graph, [numpy_helper.from_array(estimator.places.astype(np.int64), _PLACES)]
    gather = helper.make_node("Gather", [_INPUT, _PLACES], [inner.input[0].name], axis=1)
    kind = inner.input[0].type.tensor_type.elem_type
    features = helper.make_tensor_value_info(_INPUT, kind, ["N", n_features])
    outputs, constants = list(inner.output), [*tensors, *inner.initializer]
    graph = helper.make_graph([gather, *inner.node], "kept", [features], outputs, constants)
    return helper.make_model(graph, opset_imports=made.opset_import, ir_version=made.ir_version)
