"""A loaded bundle that makes predictions."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from when_ml_pipeline_meets_hydra.errors import first_line
from when_ml_pipeline_meets_hydra.serving.engine.batching import MAX_BATCH_ROWS, Arrays, DynamicBatcher
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, BadRow, Feeds, feeds_from_rows
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, read_smoke
from when_ml_pipeline_meets_hydra.serving.formats.manifest import MODEL, BundleRefused, Manifest, verified
from when_ml_pipeline_meets_hydra.serving.formats.reference import read_training

SLOW_SECONDS = 0.0003  # a run of one row that takes longer is worth a thread, and batching


class Scorer:
    """One bundle in memory, safe for concurrent calls. ``on_run`` is called with the tensors of each run."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self.manifest, self._session = manifest, session
        self.on_run: Callable[[Feeds, Arrays], None] | None = None
        self.slow = False
        self._outputs = [output.name for output in manifest.outputs]
        self._batcher = DynamicBatcher(self._run)

    def measure(self, row: Mapping[str, Any]) -> None:
        """Measure the time for one row; if it is long, concurrent calls are batched from now on."""
        feeds = feeds_from_rows(self.manifest.inputs, [row], self.manifest.reading)
        self._run(feeds)
        self.slow = min(timeit.repeat(lambda: self._run(feeds), number=1, repeat=3)) > SLOW_SECONDS

    def run(self, feeds: Feeds) -> Arrays:
        """Return the graph's outputs for tensors of N rows, in the order of the manifest."""
        arrays = self.run_unobserved(feeds)
        if self.on_run is not None:
            self.on_run(feeds, arrays)
        return arrays

    def run_unobserved(self, feeds: Feeds) -> Arrays:
        """Return what ``run`` does, without calling ``on_run``."""
        rows = next(map(len, feeds.values()), 0)
        if not rows:
            return [np.empty((0, *output.shape[1:])) for output in self.manifest.outputs]
        return self._batcher(feeds, rows) if self.slow and rows < MAX_BATCH_ROWS else self._run(feeds)

    def _run(self, feeds: Feeds) -> Arrays:
        arrays: Arrays = self._session.run(self._outputs, feeds)
        return arrays

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Predictions:
        """Return predictions for raw rows.

        Raises:
            BadRow: a row does not fit the signature, or its prediction is not a finite number.
        """
        return predictions(self.manifest, self.run(feeds_from_rows(self.manifest.inputs, rows, self.manifest.reading)))


def predictions(manifest: Manifest, arrays: Sequence[Array]) -> Predictions:
    """Convert the outputs of a graph to predictions.

    Raises:
        BadRow: a prediction is not a finite number.
    """
    values, *probabilities = arrays
    _check_finite(probabilities[0] if probabilities else values)
    return Predictions(
        values=tuple(values.reshape(-1).tolist()),
        probabilities=tuple(map(tuple, probabilities[0].tolist())) if manifest.classes else None,
    )


def _check_finite(numbers: Array) -> None:
    finite = np.isfinite(numbers)
    if not finite.all():
        row = int(np.argmin(finite.reshape(len(numbers), -1).all(axis=1)))
        raise BadRow(f"rows[{row}]: the model's prediction is not a finite number")


def load(folder: Path) -> Scorer:
    """Load the bundle in ``folder`` after verifying its checksums.

    Raises:
        BundleRefused: it is damaged, or onnxruntime cannot load it.
    """
    scorer = _scorer(folder, verified(folder))
    scorer.measure(read_smoke(folder).rows[0])
    return scorer


def check(folder: Path) -> Scorer:
    """Load an untrusted bundle, and verify its predictions for its smoke rows.

    Raises:
        BundleRefused: it is damaged, refers to external data, cannot be loaded, or fails its smoke rows.
    """
    manifest = verified(folder)
    _check_no_external_data(folder / MODEL)
    read_training(folder, manifest)
    smoke = read_smoke(folder)
    scorer = _scorer(folder, manifest)
    try:
        wrong = smoke.difference(scorer.predict(smoke.rows))
    except Exception as problem:  # any error of the graph on its own rows makes the bundle invalid
        wrong = first_line(problem)
    if wrong:
        raise BundleRefused(f"its own smoke rows fail: {wrong}")
    return scorer


def _scorer(folder: Path, manifest: Manifest) -> Scorer:
    session = _session((folder / MODEL).read_bytes())
    _compare_names("inputs", [column.name for column in manifest.inputs], session.get_inputs())
    _compare_names("outputs", [output.name for output in manifest.outputs], session.get_outputs())
    return Scorer(manifest, session)


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Requests run in parallel; threads within one request would compete with them.
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's exceptions have no common base class
        raise BundleRefused(f"{MODEL} cannot be loaded: {first_line(problem)}") from None


def _compare_names(what: str, named: Sequence[str], nodes: Sequence[Any]) -> None:
    if sorted(named) != sorted(node.name for node in nodes):
        raise BundleRefused(f"the manifest's {what} are not those of {MODEL}")


def _check_no_external_data(path: Path) -> None:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError:
        raise BundleRefused(f"{MODEL} is not an ONNX model") from None
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(model)):
        raise BundleRefused(f"{MODEL} refers to data outside its own file")


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor of a model, in nodes, subgraphs, functions and attributes."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)
