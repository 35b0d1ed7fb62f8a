"""What the Open Inference Protocol v2 says about models, and the bodies of what changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from when_ml_pipeline_meets_hydra.serving.formats.manifest import CLAIMED
from when_ml_pipeline_meets_hydra.serving.formats.versions import Terms
from when_ml_pipeline_meets_hydra.serving.http.models import Served

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "model_repository")


class ActivateBody(BaseModel):
    """The version that shall serve."""

    model_config = ConfigDict(strict=True, extra="forbid")
    version: Annotated[int, Field(ge=1)]


class CanaryBody(BaseModel):
    """The version that shall answer a share of the requests, and what it has to prove."""

    model_config = ConfigDict(extra="forbid")
    version: Annotated[int, Field(ge=1, strict=True)]
    terms: Terms


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
