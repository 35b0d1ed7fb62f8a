"""Model metadata of the Open Inference Protocol v2, and the bodies of management requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from when_ml_pipeline_meets_hydra.serving.engine.images import INPUT
from when_ml_pipeline_meets_hydra.serving.formats.manifest import INPUT_DATATYPES, Manifest
from when_ml_pipeline_meets_hydra.serving.formats.versions import Terms
from when_ml_pipeline_meets_hydra.serving.http.models import ServedVersion

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "model_repository")


class ActivateBody(BaseModel):
    """The version to activate."""

    model_config = ConfigDict(strict=True, extra="forbid")
    version: Annotated[int, Field(ge=1)]


class CanaryBody(BaseModel):
    """The version to start as a canary, and its terms."""

    model_config = ConfigDict(extra="forbid")
    version: Annotated[int, Field(ge=1, strict=True)]
    terms: Terms


def metadata(served: ServedVersion, numbers: Sequence[int]) -> dict[str, Any]:
    """Return the signature of a model in the protocol's format."""
    manifest = served.scorer.manifest
    inputs = [
        {
            "name": column.name,
            "datatype": INPUT_DATATYPES[column.dtype].value,
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
    content: dict[str, Any] = {
        "name": served.model,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": outputs,
    }
    return content | ({"parameters": parameters} if (parameters := _parameters(manifest)) else {})


def _parameters(manifest: Manifest) -> dict[str, Any]:
    """What is known of a model: its image, the coverage of intervals, and the threshold of two classes."""
    found: dict[str, Any] = {}
    if image := manifest.image:
        shape = {"channels": image.channels, "height": image.height, "width": image.width}
        found["image"] = {"input": INPUT, "datatype": "BYTES", "content": "a file in base64", **shape}
    if manifest.interval:
        found["interval"] = {"coverage": manifest.interval.coverage}
    if decision := manifest.decision:
        found["threshold"] = {"class": manifest.classes[decision.positive], "probability": decision.threshold}
    return found
