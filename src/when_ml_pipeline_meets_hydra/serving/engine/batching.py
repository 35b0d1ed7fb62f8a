"""Dynamic batching: requests that arrive while a model is busy are combined into its next run."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from when_ml_pipeline_meets_hydra.serving.engine.deadlines import OutOfTime
from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, Feeds

Arrays = list[Array]
Run = Callable[[Feeds, float | None], Arrays]  # tensors, and the time by which it has to end

MAX_BATCH_ROWS = 64
BATCH_SHARE = 0.25  # of the time that is left: a batch that takes longer is given up, and its requests run alone


@dataclass(kw_only=True)
class _Request:
    """A waiting request. After ``wake`` it is answered, or runs ``alone``; if neither, it runs the next batch."""

    feeds: Feeds
    rows: int
    until: float | None
    wake: threading.Event = field(default_factory=threading.Event)
    arrays: Arrays | None = None
    error: Exception | None = None
    alone: bool = False

    @property
    def is_late(self) -> bool:
        return self.until is not None and time.monotonic() > self.until


class DynamicBatcher:
    """Combines concurrent calls of a function of tensors with N rows into fewer calls with more rows.

    No call waits for others to arrive: the first one runs at once, and the calls that arrive meanwhile form the next
    batch, which the thread of the first of them runs.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._busy = False

    def __call__(self, feeds: Feeds, rows: int, until: float | None = None) -> Arrays:
        """Return the outputs for these rows.

        Raises:
            OutOfTime: not before ``until``, of the monotonic clock.
        """
        request = _Request(feeds=feeds, rows=rows, until=until)
        with self._lock:
            self._waiting.append(request)
            leads, self._busy = not self._busy, True
        if not leads:
            request.wake.wait()
        if request.arrays is None and not request.alone:
            self._run_next_batch()
        if request.error is not None:
            raise request.error
        if request.arrays is None and request.is_late:
            raise OutOfTime("the model was busy for too long")
        return self._run(feeds, until) if request.arrays is None else request.arrays

    def _run_next_batch(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft()]
            rows = batch[0].rows
            while self._waiting and rows + self._waiting[0].rows <= MAX_BATCH_ROWS:
                rows += self._waiting[0].rows
                batch.append(self._waiting.popleft())
        try:
            self._run_batch([request for request in batch if not request.is_late])
        finally:
            with self._lock:
                next_leader = self._waiting[0] if self._waiting else None
                self._busy = next_leader is not None
            for request in batch:
                request.alone = request.arrays is None and request.error is None
            for request in batch if next_leader is None else (*batch, next_leader):
                request.wake.set()

    def _run_batch(self, batch: Sequence[_Request]) -> None:
        """Run the requests of a batch together; where that fails, each of them runs alone in its own thread."""
        if len(batch) < 2:
            for request in batch:
                try:
                    request.arrays = self._run(request.feeds, request.until)
                except Exception as error:
                    request.error = error
            return
        joint = {name: np.concatenate([request.feeds[name] for request in batch]) for name in batch[0].feeds}
        try:
            arrays = self._run(joint, _end(batch))
        except Exception:  # one request is bad, or takes too long
            return
        ends = np.cumsum([request.rows for request in batch])[:-1]
        for request, parts in zip(batch, zip(*(np.split(a, ends) for a in arrays), strict=True), strict=True):
            request.arrays = list(parts)


def _end(batch: Sequence[_Request]) -> float | None:
    ends = [request.until for request in batch if request.until is not None]
    now = time.monotonic()
    return now + BATCH_SHARE * (min(ends) - now) if ends else None
