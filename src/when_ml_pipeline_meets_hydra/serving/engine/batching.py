"""Dynamic batching: requests that arrive while a model is busy are combined into its next run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, Feeds

Arrays = list[Array]

MAX_BATCH_ROWS = 64


@dataclass(kw_only=True)
class _Request:
    """A waiting request. After ``wake`` it has ``arrays`` or an ``error``; with neither, it runs the next batch."""

    feeds: Feeds
    rows: int
    wake: threading.Event = field(default_factory=threading.Event)
    arrays: Arrays | None = None
    error: Exception | None = None


class DynamicBatcher:
    """Combines concurrent calls of a function of tensors with N rows into fewer calls with more rows.

    No call waits for others to arrive: the first one runs at once, and the calls that arrive meanwhile form the next
    batch, which the thread of the first of them runs.
    """

    def __init__(self, run: Callable[[Feeds], Arrays]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._busy = False

    def __call__(self, feeds: Feeds, rows: int) -> Arrays:
        """Return the outputs for these rows."""
        request = _Request(feeds=feeds, rows=rows)
        with self._lock:
            self._waiting.append(request)
            leads, self._busy = not self._busy, True
        if not leads:
            request.wake.wait()
        if request.arrays is None and request.error is None:
            self._run_next_batch()
        if request.error is not None:
            raise request.error
        assert request.arrays is not None  # a leader is the first in the queue, hence in its own batch
        return request.arrays

    def _run_next_batch(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft()]
            rows = batch[0].rows
            while self._waiting and rows + self._waiting[0].rows <= MAX_BATCH_ROWS:
                rows += self._waiting[0].rows
                batch.append(self._waiting.popleft())
        try:
            self._run_batch(batch)
        finally:
            with self._lock:
                next_leader = self._waiting[0] if self._waiting else None
                self._busy = next_leader is not None
            for request in batch if next_leader is None else (*batch, next_leader):
                request.wake.set()

    def _run_batch(self, batch: Sequence[_Request]) -> None:
        if len(batch) > 1:
            joint = {name: np.concatenate([request.feeds[name] for request in batch]) for name in batch[0].feeds}
            try:
                arrays = self._run(joint)
            except Exception:  # one request is bad; run each alone to find it
                pass
            else:
                ends = np.cumsum([request.rows for request in batch])[:-1]
                for request, parts in zip(batch, zip(*(np.split(a, ends) for a in arrays), strict=True), strict=True):
                    request.arrays = list(parts)
                return
        for request in batch:
            try:
                request.arrays = self._run(request.feeds)
            except Exception as error:
                request.error = error
