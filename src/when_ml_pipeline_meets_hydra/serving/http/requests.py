"""Inference requests and their responses: rows as objects, or tensors of the Open Inference Protocol.

A request makes the graph's inputs (``feeds``), and the response body from its outputs (``response``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic_core import to_json

from when_ml_pipeline_meets_hydra.serving.engine import images, tensors
from when_ml_pipeline_meets_hydra.serving.engine.encode import (
    Array,
    BadRow,
    Feeds,
    Refusals,
    feeds_from_rows,
    feeds_from_tensors,
)
from when_ml_pipeline_meets_hydra.serving.engine.scorer import predictions
from when_ml_pipeline_meets_hydra.serving.formats.manifest import Datatype, Interval, Manifest, Output
from when_ml_pipeline_meets_hydra.serving.http.models import ServedVersion

HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON at the start of the body; binary tensors follow


NO_INTERVALS = "the model has no intervals; they are made with interval.coverage"
ENDS = tuple(Output(name=name, datatype=Datatype.FP64, shape=(-1, 1)) for name in ("lower", "upper"))


class BadBody(ValueError):
    """A body that cannot be split into JSON and binary tensors."""


class ResponseBody(NamedTuple):
    """The body of a response; the first ``json_length`` bytes are JSON (None: all)."""

    body: bytes
    json_length: int | None = None


class PredictBody(BaseModel):
    """Raw rows as objects: column → value; a key that is missing or null is a missing value."""

    model_config = ConfigDict(strict=True, extra="forbid")
    rows: list[dict[str, Any]]
    interval: Annotated[bool, Field(description="Whether each number comes with its interval")] = False

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def feeds(self, manifest: Manifest) -> Feeds:
        """Return tensors [N, 1] by input.

        Raises:
            BadRow: a row does not fit the signature.
        """
        if self.interval and manifest.interval is None:
            raise BadRow(f"interval: {NO_INTERVALS}")
        rows = self.rows if manifest.image is None else images.with_pixels(self.rows, manifest.inputs, manifest.image)
        return feeds_from_rows(manifest.inputs, rows, manifest.reading)

    def response(self, served: ServedVersion, arrays: Sequence[Array]) -> ResponseBody:
        """Return the predictions by row.

        Raises:
            BadRow: a prediction is not a finite number.
        """
        predicted = predictions(served.scorer.manifest, arrays)
        content: dict[str, Any] = {**_version(served), "predictions": predicted.values}
        if predicted.probabilities is not None:
            classes = served.scorer.manifest.classes
            content["probabilities"] = [dict(zip(classes, row, strict=True)) for row in predicted.probabilities]
        if self.interval and (interval := served.scorer.manifest.interval):
            content["coverage"] = interval.coverage
            content["intervals"] = list(zip(*(ends.tolist() for ends in _ends(interval, arrays[0])), strict=True))
        return ResponseBody(to_json(content))


class InputParameters(BaseModel):
    """Parameters of an input in the protocol's extensions."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data_size: Annotated[int, Field(ge=0, description="Bytes of its data after the JSON")] | None = None


class InputTensor(BaseModel):
    """One input of the protocol; its data are a nested or flat list, or bytes after the JSON."""

    model_config = ConfigDict(strict=True)
    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    datatype: str
    data: list[Any] | None = None
    parameters: InputParameters = InputParameters()


class OutputParameters(BaseModel):
    """Parameters of a requested output."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data: Annotated[bool, Field(description="As bytes after the JSON")] | None = None


class OutputName(BaseModel):
    """One requested output."""

    model_config = ConfigDict(strict=True)
    name: str
    parameters: OutputParameters = OutputParameters()


class InferParameters(BaseModel):
    """Parameters of a request in the protocol's extensions."""

    model_config = ConfigDict(strict=True, extra="allow")
    binary_data_output: Annotated[bool, Field(description="All outputs as bytes after the JSON")] = False
    interval: Annotated[bool, Field(description="Further outputs lower and upper: the interval of each number")] = False


class InferBody(BaseModel):
    """An inference request of the protocol."""

    model_config = ConfigDict(strict=True)
    id: str | None = None
    parameters: InferParameters = InferParameters()
    inputs: list[InputTensor]
    outputs: list[OutputName] | None = None
    _tail: memoryview = PrivateAttr(default_factory=lambda: memoryview(b""))

    @property
    def count(self) -> int:
        """Number of rows according to the shapes, which are not validated yet."""
        return max((tensor.shape[0] for tensor in self.inputs if tensor.shape), default=0)

    def feeds(self, manifest: Manifest) -> Feeds:
        """Return tensors [N, 1] by input.

        Raises:
            BadRow: an input does not fit the signature.
        """
        if len({tensor.name for tensor in self.inputs}) < len(self.inputs):
            raise BadRow("inputs: one of them is repeated")
        self._requested(manifest)
        values_by_name: dict[str, tuple[str, Sequence[Any] | Array]] = {}
        place, wrong = 0, Refusals()
        for tensor in self.inputs:
            values = wrong.during(partial(self._values, tensor, place))
            if values is not None:
                values_by_name[tensor.name] = tensor.datatype, values
            place += tensor.parameters.binary_data_size or 0
        if place != len(self._tail):
            wrong.add(f"inputs: {len(self._tail)} bytes follow the JSON, but the inputs declare {place}")
        wrong.raise_any()
        if manifest.image and [*values_by_name] == [images.INPUT]:
            values_by_name = images.pixel_tensors(values_by_name[images.INPUT][1], manifest.inputs, manifest.image)
        return feeds_from_tensors(manifest.inputs, values_by_name, manifest.reading)

    def _values(self, tensor: InputTensor, place: int) -> Sequence[Any] | Array:
        size = tensor.parameters.binary_data_size
        if (tensor.data is None) == (size is None):
            raise BadRow(f"inputs.{tensor.name}: needs either data or binary_data_size")
        if tensor.data is not None:
            return tensors.from_list(tensor.name, tensor.shape, tensor.data)
        content = self._tail[place : place + (size or 0)]
        return tensors.from_bytes(tensor.name, tensor.shape, tensor.datatype, content)

    def response(self, served: ServedVersion, arrays: Sequence[Array]) -> ResponseBody:
        """Return the requested outputs, by default all.

        Raises:
            BadRow: a prediction is not a finite number.
        """
        manifest = served.scorer.manifest
        requested = self._requested(manifest)
        described, tail = [], []
        for output, array in _outputs(manifest, arrays):
            if output.name not in requested:
                continue
            entry = {"name": output.name, "datatype": output.datatype.value, "shape": [len(array), *output.shape[1:]]}
            as_bytes = requested[output.name]
            if self.parameters.binary_data_output if as_bytes is None else as_bytes:
                tail.append(tensors.to_bytes(output, array))
                described.append({**entry, "parameters": {"binary_data_size": len(tail[-1])}})
            else:
                described.append({**entry, "data": tensors.to_list(output, array)})
        content = {**_version(served), "outputs": described}
        head = to_json(content if self.id is None else {**content, "id": self.id})
        return ResponseBody(b"".join((head, *tail)), len(head)) if tail else ResponseBody(head)

    def _requested(self, manifest: Manifest) -> Mapping[str, bool | None]:
        """Return name → whether it is requested as bytes (None: the request's default) of each requested output."""
        if self.parameters.interval and manifest.interval is None:
            raise BadRow(f"parameters.interval: {NO_INTERVALS}")
        usual, ends = ([output.name for output in outputs] for outputs in (manifest.outputs, ENDS))
        names = {*usual, *(ends if manifest.interval else ())}
        requested = {output.name: output.parameters.binary_data for output in self.outputs or ()}
        if unknown := requested.keys() - names:
            raise BadRow(f"outputs.{min(unknown)}: there is no such output, allowed: {', '.join(sorted(names))}")
        default = usual if not requested else ()
        return {**dict.fromkeys([*default, *(ends if self.parameters.interval else ())]), **requested}


def read_predict(body: bytes, _: str | None) -> PredictBody:
    """Parse the body of a predict request.

    Raises:
        ValidationError: it is not valid.
    """
    return PredictBody.model_validate_json(body)


def read_infer(body: bytes, json_length: str | None) -> InferBody:
    """Parse the body of an infer request, of which ``json_length`` bytes are JSON (None: all).

    Raises:
        ValidationError: it is not valid.
        BadBody: the body is shorter than ``json_length``.
    """
    if json_length is None:
        return InferBody.model_validate_json(body)
    if not json_length.isdecimal() or int(json_length[:20]) > len(body):
        raise BadBody(f"{HEADER_LENGTH}: expected a number of bytes, at most those of the body")
    request = InferBody.model_validate_json(body[: int(json_length)])
    request._tail = memoryview(body)[int(json_length) :]
    return request


def _version(served: ServedVersion) -> Mapping[str, str]:
    return {"model_name": served.model, "model_version": str(served.number)}


def _outputs(manifest: Manifest, arrays: Sequence[Array]) -> Iterator[tuple[Output, Array]]:
    """Yield the outputs of the graph, and the ends of the intervals."""
    yield from zip(manifest.outputs, arrays, strict=True)
    if manifest.interval:
        yield from zip(ENDS, _ends(manifest.interval, arrays[0]), strict=True)


def _ends(interval: Interval, predicted: Array) -> tuple[Array, Array]:
    values = predicted.reshape(-1)
    return values - interval.distance, values + interval.distance
