"""What is asked of a model, and how the answer is written: rows as objects, or tensors of the Open Inference Protocol.

A question makes the graph's inputs (``feeds``) and writes its outputs (``content``); what lies between is not its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic_core import to_json

from when_ml_pipeline_meets_hydra.serving.engine import tensors
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, BadRow, Feeds, feeds_from_rows, feeds_from_tensors
from when_ml_pipeline_meets_hydra.serving.engine.scorer import predictions
from when_ml_pipeline_meets_hydra.serving.formats.manifest import Manifest, Output
from when_ml_pipeline_meets_hydra.serving.http.models import Served

HEADER_LENGTH = "Inference-Header-Content-Length"  # how much of a body is JSON; tensors as bytes follow


class BadBody(ValueError):
    """A body whose parts cannot be told from one another."""


class Content(NamedTuple):
    """The body of an answer; ``json_length`` of its bytes are JSON, None: all of them."""

    body: bytes
    json_length: int | None = None


class PredictBody(BaseModel):
    """Raw rows as objects: column → value; a key that is missing or null is a missing value."""

    model_config = ConfigDict(strict=True, extra="forbid")
    rows: list[dict[str, Any]]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def feeds(self, manifest: Manifest) -> Feeds:
        """Tensors [N, 1] by input.

        Raises:
            BadRow: a row does not fit the signature.
        """
        return feeds_from_rows(manifest.inputs, self.rows)

    def content(self, served: Served, arrays: Sequence[Array]) -> Content:
        """The answers by row.

        Raises:
            BadRow: an answer is no finite number.
        """
        found = predictions(served.scorer.manifest, arrays)
        content: dict[str, Any] = {**_version(served), "predictions": found.values}
        if found.probabilities is not None:
            classes = served.scorer.manifest.classes
            content["probabilities"] = [dict(zip(classes, row, strict=True)) for row in found.probabilities]
        return Content(to_json(content))


class InputParameters(BaseModel):
    """What the protocol's extensions say of an input."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data_size: Annotated[int, Field(ge=0, description="Bytes of its data behind the JSON")] | None = None


class InputTensor(BaseModel):
    """One input of the protocol; its data may be nested or flat, or follow the JSON as bytes."""

    model_config = ConfigDict(strict=True)
    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    datatype: str
    data: list[Any] | None = None
    parameters: InputParameters = InputParameters()


class OutputParameters(BaseModel):
    """How an output is wanted."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data: Annotated[bool, Field(description="As bytes behind the JSON")] | None = None


class OutputName(BaseModel):
    """One output that is asked for."""

    model_config = ConfigDict(strict=True)
    name: str
    parameters: OutputParameters = OutputParameters()


class InferParameters(BaseModel):
    """What the protocol's extensions say of a request."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data_output: Annotated[bool, Field(description="All outputs as bytes behind the JSON")] = False


class InferBody(BaseModel):
    """A request of the protocol."""

    model_config = ConfigDict(strict=True)
    id: str | None = None
    parameters: InferParameters = InferParameters()
    inputs: list[InputTensor]
    outputs: list[OutputName] | None = None
    _tail: memoryview = PrivateAttr(default_factory=lambda: memoryview(b""))

    @property
    def count(self) -> int:
        """Number of rows, as far as the shapes can be trusted."""
        return max((tensor.shape[0] for tensor in self.inputs if tensor.shape), default=0)

    def feeds(self, manifest: Manifest) -> Feeds:
        """Tensors [N, 1] by input.

        Raises:
            BadRow: an input does not fit the signature.
        """
        if len({tensor.name for tensor in self.inputs}) < len(self.inputs):
            raise BadRow("inputs: one of them comes twice")
        _wanted(manifest.outputs, self.outputs)
        found, place = {}, 0
        for tensor in self.inputs:
            size = tensor.parameters.binary_data_size
            values = self._values(tensor, place)
            found[tensor.name] = tensor.datatype, values
            place += size or 0
        if place != len(self._tail):
            raise BadRow(f"inputs: {len(self._tail)} bytes follow the JSON, and the inputs name {place} of them")
        return feeds_from_tensors(manifest.inputs, found)

    def _values(self, tensor: InputTensor, place: int) -> Sequence[Any] | Array:
        size = tensor.parameters.binary_data_size
        if (tensor.data is None) == (size is None):
            raise BadRow(f"inputs.{tensor.name}: needs either data or binary_data_size")
        if tensor.data is not None:
            return tensors.from_list(tensor.name, tensor.shape, tensor.data)
        content = self._tail[place : place + (size or 0)]
        return tensors.from_bytes(tensor.name, tensor.shape, tensor.datatype, content)

    def content(self, served: Served, arrays: Sequence[Array]) -> Content:
        """The outputs that were asked for, or all.

        Raises:
            BadRow: an answer is no finite number.
        """
        outputs = served.scorer.manifest.outputs
        wanted = _wanted(outputs, self.outputs)
        described, tail = [], []
        for output, array in zip(outputs, arrays, strict=True):
            if output.name not in wanted:
                continue
            entry = {"name": output.name, "datatype": output.datatype.value, "shape": [len(array), *output.shape[1:]]}
            as_bytes = wanted[output.name]
            if self.parameters.binary_data_output if as_bytes is None else as_bytes:
                tail.append(tensors.to_bytes(output, array))
                described.append({**entry, "parameters": {"binary_data_size": len(tail[-1])}})
            else:
                described.append({**entry, "data": tensors.to_list(output, array)})
        content = {**_version(served), "outputs": described}
        head = to_json(content if self.id is None else {**content, "id": self.id})
        return Content(b"".join((head, *tail)), len(head)) if tail else Content(head)


def read_predict(body: bytes, _: str | None) -> PredictBody:
    """The question in a body.

    Raises:
        ValidationError: it is none.
    """
    return PredictBody.model_validate_json(body)


def read_infer(body: bytes, json_length: str | None) -> InferBody:
    """The question in a body, of which ``json_length`` bytes are JSON (None: all).

    Raises:
        ValidationError: it is none.
        BadBody: there are not so many bytes.
    """
    if json_length is None:
        return InferBody.model_validate_json(body)
    if not json_length.isdecimal() or int(json_length[:20]) > len(body):
        raise BadBody(f"{HEADER_LENGTH}: expected a number of bytes, at most those of the body")
    question = InferBody.model_validate_json(body[: int(json_length)])
    question._tail = memoryview(body)[int(json_length) :]
    return question


def _version(served: Served) -> Mapping[str, str]:
    return {"model_name": served.model, "model_version": str(served.number)}


def _wanted(outputs: Sequence[Output], asked: Sequence[OutputName] | None) -> Mapping[str, bool | None]:
    """Name of each wanted output → whether it is wanted as bytes (None: as the request says for all)."""
    names = {output.name for output in outputs}
    wanted = {output.name: output.parameters.binary_data for output in asked} if asked else dict.fromkeys(names)
    if unknown := wanted.keys() - names:
        raise BadRow(f"outputs.{min(unknown)}: there is no such output, allowed: {', '.join(sorted(names))}")
    return wanted
