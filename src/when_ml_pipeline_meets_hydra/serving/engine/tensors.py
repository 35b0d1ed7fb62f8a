"""Tensors of the Open Inference Protocol: lists in JSON, or bytes after it (its binary tensor data extension)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, BadRow
from when_ml_pipeline_meets_hydra.serving.formats.manifest import Datatype, Output

DTYPES = {
    **{
        f"{kind}{bits}": f"<{letter}{bits // 8}"
        for kind, letter in (("INT", "i"), ("UINT", "u"))
        for bits in (16, 32, 64)
    },
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{"INT8": "i1", "UINT8": "u1", "BOOL": "?"},
}
_LENGTH = struct.Struct("<I")


def from_list(name: str, shape: Sequence[int], data: Sequence[Any]) -> list[Any]:
    """Return the N values of an input of shape [N, 1] or [N], nested or flat in JSON.

    Raises:
        BadRow: shape and number of values do not match.
    """
    flat = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]
    if len(flat) != _count(name, shape):
        raise BadRow(f"inputs.{name}: {len(flat)} values for the shape {list(shape)}")
    return flat


def from_bytes(name: str, shape: Sequence[int], datatype: str, content: memoryview) -> Sequence[Any] | Array:
    """Return the N values of an input of shape [N, 1] or [N]: little-endian, strings prefixed by their length.

    Raises:
        BadRow: shape, datatype and number of bytes do not match.
    """
    count = _count(name, shape)
    if datatype == "BYTES":
        return _strings(name, count, content)
    if datatype not in DTYPES:
        raise BadRow(f"inputs.{name}: there is no datatype {datatype[:20]!r}")
    dtype = np.dtype(DTYPES[datatype])
    if len(content) != count * dtype.itemsize:
        raise BadRow(f"inputs.{name}: {len(content)} bytes for {count} values of {datatype}")
    array = np.frombuffer(content, dtype)
    return array.tolist() if datatype == "BOOL" else array.astype(float)


def _count(name: str, shape: Sequence[int]) -> int:
    if len(shape) == 0 or list(shape[1:]) not in ([], [1]):
        raise BadRow(f"inputs.{name}: the shape is {list(shape)}, expected [N, 1] or [N]")
    if not (count := math.prod(shape)):
        raise BadRow(f"inputs.{name}: there are no rows")
    return count


def _strings(name: str, count: int, content: memoryview) -> list[str]:
    texts: list[str] = []
    place = 0
    try:
        while place < len(content):
            (length,) = _LENGTH.unpack_from(content, place)
            place += _LENGTH.size + length
            if place > len(content):
                raise ValueError
            texts.append(str(content[place - length : place], "utf-8"))
    except (ValueError, struct.error):
        raise BadRow(f"inputs.{name}: its bytes are not length-prefixed strings of valid Unicode") from None
    if len(texts) != count:
        raise BadRow(f"inputs.{name}: {len(texts)} values for {count} rows")
    return texts


def to_list(output: Output, array: Array) -> list[Any]:
    """Return the values of an output of the graph as a flat list."""
    values: list[Any] = _finite(output, array).reshape(-1).tolist()
    return values


def to_bytes(output: Output, array: Array) -> bytes:
    """Return the values of an output of the graph in the extension's binary format."""
    if output.datatype is Datatype.BYTES:
        encoded = [str(value).encode() for value in array.reshape(-1)]
        return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
    return _finite(output, array).astype(DTYPES[output.datatype.value], copy=False).tobytes()


def _finite(output: Output, array: Array) -> Array:
    if output.datatype is not Datatype.BYTES and not np.isfinite(array).all():
        raise BadRow(f"outputs.{output.name}: the model's prediction is not a finite number")
    return array
