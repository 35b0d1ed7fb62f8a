"""The bodies of requests and answers: the Open Inference Protocol v2 in JSON, and plain rows as objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from when_ml_pipeline_meets_hydra.serving.loaded import Served
from when_ml_pipeline_meets_hydra.serving.manifest import CLAIMED, Datatype, Output
from when_ml_pipeline_meets_hydra.serving.rows import BadRow, feeds_from_tensors
from when_ml_pipeline_meets_hydra.serving.versions import Terms

if TYPE_CHECKING:
    import numpy as np

PLATFORM = "onnxruntime_onnx"


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class PredictBody(_Body):
    """Raw rows as objects: column → value; a key that is missing or null is a missing value."""

    model_config = ConfigDict(strict=True, extra="forbid")
    rows: list[dict[str, Any]]


class InputTensor(_Body):
    """One input of the protocol; its data may be nested or flat."""

    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class OutputName(_Body):
    """One output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferBody(_Body):
    """A request of the protocol."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor]
    outputs: list[OutputName] | None = None


class ActivateBody(_Body):
    """The version that shall serve."""

    model_config = ConfigDict(strict=True, extra="forbid")
    version: Annotated[int, Field(ge=1)]


class CanaryBody(BaseModel):
    """The version that shall answer a share of the requests, and what it has to prove."""

    model_config = ConfigDict(extra="forbid")
    version: Annotated[int, Field(ge=1, strict=True)]
    terms: Terms


def predict(served: Served, body: PredictBody) -> dict[str, Any]:
    """Answer rows as objects.

    Raises:
        BadRow: a row does not fit the signature.
    """
    found = served.scorer.predict(body.rows)
    content: dict[str, Any] = {**_version(served), "predictions": found.values}
    if found.probabilities is not None:
        classes = served.scorer.manifest.classes
        content["probabilities"] = [dict(zip(classes, row, strict=True)) for row in found.probabilities]
    return content


def infer(served: Served, body: InferBody) -> dict[str, Any]:
    """Answer a request of the protocol.

    Raises:
        BadRow: an input or an asked output does not fit the signature.
    """
    manifest = served.scorer.manifest
    names = [tensor.name for tensor in body.inputs]
    if len(set(names)) < len(names):
        raise BadRow("inputs: one of them comes twice")
    tensors = {tensor.name: (tensor.datatype, _flat(tensor)) for tensor in body.inputs}
    wanted = _wanted(manifest.outputs, body.outputs)
    arrays = served.scorer.run(feeds_from_tensors(manifest.inputs, tensors))
    outputs = [
        _output_tensor(output, array)
        for output, array in zip(manifest.outputs, arrays, strict=True)
        if output.name in wanted
    ]
    content = {**_version(served), "outputs": outputs}
    return content if body.id is None else {**content, "id": body.id}


def metadata(served: Served, numbers: Sequence[int]) -> dict[str, Any]:
    """The signature of a model, as the protocol writes it."""
    manifest = served.scorer.manifest
    inputs = [
        {
            "name": column.name,
            "datatype": CLAIMED[column.dtype].value,
            "shape": [-1, 1],
            "parameters": {"dtype": column.dtype.value, "description": column.description},
        }
        for column in manifest.inputs
    ]
    outputs = [
        {"name": output.name, "datatype": output.datatype.value, "shape": list(output.shape)}
        for output in manifest.outputs
    ]
    versions = [str(number) for number in numbers]
    return {"name": served.model, "versions": versions, "platform": PLATFORM, "inputs": inputs, "outputs": outputs}


def _version(served: Served) -> Mapping[str, str]:
    return {"model_name": served.model, "model_version": str(served.number)}


def _wanted(outputs: Sequence[Output], asked: Sequence[OutputName] | None) -> set[str]:
    names = {output.name for output in outputs}
    wanted = {output.name for output in asked} if asked else names
    if unknown := wanted - names:
        raise BadRow(f"outputs.{min(unknown)}: there is no such output, allowed: {', '.join(sorted(names))}")
    return wanted


def _flat(tensor: InputTensor) -> list[Any]:
    if tensor.shape[1:] not in ([], [1]):
        raise BadRow(f"inputs.{tensor.name}: the shape is {tensor.shape}, expected [N, 1] or [N]")
    flat = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in tensor.data]
    if len(flat) != math.prod(tensor.shape):
        raise BadRow(f"inputs.{tensor.name}: {len(flat)} values for the shape {tensor.shape}")
    if not flat:
        raise BadRow(f"inputs.{tensor.name}: there are no rows")
    return flat


def _output_tensor(output: Output, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np

    if output.datatype is not Datatype.BYTES and not np.isfinite(array).all():
        raise BadRow(f"outputs.{output.name}: the model's answer is not a finite number")
    shape = [len(array), *output.shape[1:]]
    return {
        "name": output.name,
        "datatype": output.datatype.value,
        "shape": shape,
        "data": array.reshape(-1).tolist(),
    }
