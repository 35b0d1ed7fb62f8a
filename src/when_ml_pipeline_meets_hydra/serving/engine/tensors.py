"""Tensors of the Open Inference Protocol: as lists in JSON, or as bytes behind it (its binary tensor extension)."""

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
    """The N values of an input of the shape [N, 1] or [N]; nested or flat in JSON.

    Raises:
        BadRow: shape and values do not fit.
    """
    flat = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]
    if len(flat) != _count(name, shape):
        raise BadRow(f"inputs.{name}: {len(flat)} values for the shape {list(shape)}")
    return flat


def from_bytes(name: str, shape: Sequence[int], datatype: str, content: memoryview) -> Sequence[Any] | Array:
    """The N values of an input of the shape [N, 1] or [N], little-endian, strings with their length before them.

    Raises:
        BadRow: shape, datatype and bytes do not fit.
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
    found: list[str] = []
    place = 0
    try:
        while place < len(content):
            (length,) = _LENGTH.unpack_from(content, place)
            place += _LENGTH.size + length
            if place > len(content):
                raise ValueError
            found.append(str(content[place - length : place], "utf-8"))
    except (ValueError, struct.error):
        raise BadRow(f"inputs.{name}: its bytes are no strings of valid Unicode with their lengths") from None
    if len(found) != count:
        raise BadRow(f"inputs.{name}: {len(found)} values for {count} rows")
    return found


def to_list(output: Output, array: Array) -> list[Any]:
    """The values of an output of the graph, flat."""
    values: list[Any] = _finite(output, array).reshape(-1).tolist()
    return values


def to_bytes(output: Output, array: Array) -> bytes:
    """The values of an output of the graph, as the extension writes them."""
    if output.datatype is Datatype.BYTES:
        encoded = [str(value).encode() for value in array.reshape(-1)]
        return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
    return _finite(output, array).astype(DTYPES[output.datatype.value], copy=False).tobytes()


def _finite(output: Output, array: Array) -> Array:
    if output.datatype is not Datatype.BYTES and not np.isfinite(array).all():
        raise BadRow(f"outputs.{output.name}: the model's answer is not a finite number")
    return array
