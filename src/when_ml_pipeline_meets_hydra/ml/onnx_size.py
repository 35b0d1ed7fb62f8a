"""The largest ONNX graph: a file of the format holds less than 2 GiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.errors import StepFailed

if TYPE_CHECKING:
    import onnx

MOST_BYTES = 2**31 - 1


def check(size: float, what: str, remedy: str) -> None:
    """Raise ``StepFailed`` if ``size``, in bytes, is more than the format holds."""
    if size > MOST_BYTES:
        limit = f"but an ONNX file holds at most {_shown(MOST_BYTES)}, so nothing is stored"
        raise StepFailed(f"{what} takes {_shown(size)}, {limit}; {remedy}")


def serialised(graph: onnx.ModelProto, what: str, remedy: str) -> bytes:
    """Return the bytes of a graph, which are always the same.

    Raises:
        StepFailed: there are too many.
    """
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

    try:
        data: bytes = graph.SerializeToString(deterministic=True)
    except (EncodeError, ValueError):  # protobuf's own limit, of the same size
        check(MOST_BYTES + 1, what, remedy)
        raise
    check(len(data), what, remedy)
    return data


def _shown(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
