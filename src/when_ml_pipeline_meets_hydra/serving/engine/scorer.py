"""A loaded bundle that makes predictions."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from when_ml_pipeline_meets_hydra.errors import StepFailed, first_line
from when_ml_pipeline_meets_hydra.serving.engine import operators
from when_ml_pipeline_meets_hydra.serving.engine.batching import MAX_BATCH_ROWS, Arrays, DynamicBatcher
from when_ml_pipeline_meets_hydra.serving.engine.contracts import Contracts
from when_ml_pipeline_meets_hydra.serving.engine.deadlines import DEADLINES, OutOfTime
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, BadRow, Feeds, feeds_from_rows
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, read_smoke
from when_ml_pipeline_meets_hydra.serving.formats.manifest import MODEL, PIXELS, BundleRefused, Manifest, verified
from when_ml_pipeline_meets_hydra.serving.formats.reference import read_training

SLOW_SECONDS = 0.0003  # a run of one row that takes longer is worth a thread, and batching
FIRST_ROW_SECONDS = 5
MOST_LATE_RUNS = 3
_OUT_OF_MEMORY = ("Available memory of", "Failed to allocate memory", "bad allocation", "bad_alloc")


_memory_is_limited = False


def limit_memory(size: int) -> None:
    """Limit the memory of all runs of this process together to ``size`` bytes; weights do not count.

    Call it once, before a bundle is loaded.
    """
    global _memory_is_limited
    arena, default = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    as_needed = 1  # otherwise each extension doubles the last one, and the limit comes at half of it
    limits = onnxruntime.OrtArenaCfg({"max_mem": size, "arena_extend_strategy": as_needed})
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", arena, 0, default), limits)
    _memory_is_limited = True


class OutOfMemory(StepFailed):
    """A run of a graph needs more memory than it may use."""


class Scorer:
    """One bundle in memory, safe for concurrent calls. ``on_run`` is called with the tensors of each run.

    ``slow`` models are batched; ``steady`` ones consist of operators whose time depends on the number of rows alone.
    """

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self.manifest, self._session = manifest, session
        self.contracts = Contracts(manifest.inputs)
        self.on_run: Callable[[Feeds, Arrays], None] | None = None
        self.slow = self.steady = False
        self._late = 0
        self._outputs = [output.name for output in manifest.outputs]
        self._batcher = DynamicBatcher(self._run)

    def measure(self, row: Mapping[str, Any], seconds: float | None = None) -> None:
        """Measure the time for one row; if it is long, concurrent calls are batched from now on.

        Raises:
            OutOfTime: one run took longer than ``seconds``.
        """
        feeds = feeds_from_rows(self.manifest.inputs, [row], self.manifest.reading)
        until = None if seconds is None else time.monotonic() + seconds
        self._run(feeds, until)
        self.slow = min(timeit.repeat(lambda: self._run(feeds, until), number=1, repeat=3)) > SLOW_SECONDS

    def run(self, feeds: Feeds, until: float | None = None) -> Arrays:
        """Return the graph's outputs for tensors of N rows, in the order of the manifest.

        Raises:
            OutOfTime: it did not end before ``until``, of the monotonic clock.
            OutOfMemory: it needs more memory than models may use.
        """
        arrays = self.run_unobserved(feeds, until)
        if self.on_run is not None:
            self.on_run(feeds, arrays)
        return arrays

    def run_unobserved(self, feeds: Feeds, until: float | None = None) -> Arrays:
        """Return what ``run`` does, without calling ``on_run``."""
        rows = next(map(len, feeds.values()), 0)
        if not rows:
            return [np.empty((0, *output.shape[1:])) for output in self.manifest.outputs]
        return self._batcher(feeds, rows, until) if self.slow and rows < MAX_BATCH_ROWS else self._run(feeds, until)

    def was_late(self) -> None:
        """Count a run in the event loop that took too long; after some of them, the model is a slow one."""
        self._late += 1
        self.slow |= self._late >= MOST_LATE_RUNS

    def _run(self, feeds: Feeds, until: float | None) -> Arrays:
        if self.manifest.image is not None:
            feeds = {PIXELS: np.hstack([feeds[column.name] for column in self.manifest.inputs])}
        try:
            if until is None:
                return self._session.run(self._outputs, feeds)  # type: ignore[no-any-return]
            return DEADLINES.run(self._session, self._outputs, feeds, until)  # type: ignore[no-any-return]
        except OutOfTime:
            raise
        except Exception as problem:  # onnxruntime's exceptions have no common base class
            if any(part in str(problem) for part in _OUT_OF_MEMORY):
                raise OutOfMemory("the model needs more memory for this request than it may use") from None
            raise

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


def load_for_serving(folder: Path, check: Callable[[Path], None] | None = None) -> Scorer:
    """Load the bundle in ``folder`` as ``load`` does, with a time limit for its first row, and look at its operators.

    Args:
        folder: the bundle.
        check: called first with the folder of a graph that may take long, or much memory, to be loaded.

    Raises:
        BundleRefused: it is damaged, onnxruntime cannot load it, or it cannot predict its first smoke row in time.
    """
    manifest, content = verified(folder), (folder / MODEL).read_bytes()
    if check is not None and not operators.load_quickly(content):
        check(folder)
    scorer = _scorer(folder, manifest)
    scorer.steady = operators.are_steady(content)
    try:
        scorer.measure(read_smoke(folder).rows[0], FIRST_ROW_SECONDS)
    except (OutOfTime, OutOfMemory) as problem:
        raise BundleRefused(f"its first smoke row fails within {FIRST_ROW_SECONDS} s: {problem}") from None
    return scorer


def check(folder: Path) -> Scorer:
    """Load an untrusted bundle, and verify its predictions for its smoke rows.

    Raises:
        BundleRefused: it is damaged, refers to external data, cannot be loaded, or fails its smoke rows.
    """
    manifest = verified(folder)
    operators.check_no_external_data((folder / MODEL).read_bytes())
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
    columns = [column.name for column in manifest.inputs] if manifest.image is None else [PIXELS]
    _compare_names("inputs", columns, session.get_inputs())
    _compare_names("outputs", [output.name for output in manifest.outputs], session.get_outputs())
    return Scorer(manifest, session)


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Requests run in parallel; threads within one request would compete with them.
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if _memory_is_limited:
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's exceptions have no common base class
        raise BundleRefused(f"{MODEL} cannot be loaded: {first_line(problem)}") from None


def _compare_names(what: str, named: Sequence[str], nodes: Sequence[Any]) -> None:
    if sorted(named) != sorted(node.name for node in nodes):
        raise BundleRefused(f"the manifest's {what} are not those of {MODEL}")
