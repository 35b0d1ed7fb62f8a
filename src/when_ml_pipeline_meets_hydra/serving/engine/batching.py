"""Requests that come while a model is busy are answered together, by its next run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, Feeds

Arrays = list[Array]

MOST_ROWS = 64


@dataclass(kw_only=True)
class _Turn:
    """Somebody who waits for ``wake``: with ``arrays`` or an ``error`` by then, or with neither, to do the next run."""

    feeds: Feeds
    rows: int
    wake: threading.Event = field(default_factory=threading.Event)
    arrays: Arrays | None = None
    error: Exception | None = None


class Together:
    """A function of tensors with N rows that several threads call at once, as fewer calls with more rows.

    Nobody waits for others to come: the first one runs at once, and what has come meanwhile is the next run, which the
    first of those who wait does for all of them.
    """

    def __init__(self, run: Callable[[Feeds], Arrays]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._waiting: deque[_Turn] = deque()
        self._busy = False

    def __call__(self, feeds: Feeds, rows: int) -> Arrays:
        """The outputs for these rows."""
        turn = _Turn(feeds=feeds, rows=rows)
        with self._lock:
            self._waiting.append(turn)
            leads, self._busy = not self._busy, True
        if not leads:
            turn.wake.wait()
        if turn.arrays is None and turn.error is None:
            self._lead()
        if turn.error is not None:
            raise turn.error
        assert turn.arrays is not None  # whoever leads is the first of those who wait
        return turn.arrays

    def _lead(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft()]
            rows = batch[0].rows
            while self._waiting and rows + self._waiting[0].rows <= MOST_ROWS:
                rows += self._waiting[0].rows
                batch.append(self._waiting.popleft())
        try:
            self._answer(batch)
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._busy = heir is not None
            for turn in batch if heir is None else (*batch, heir):
                turn.wake.set()

    def _answer(self, batch: Sequence[_Turn]) -> None:
        if len(batch) > 1:
            joint = {name: np.concatenate([turn.feeds[name] for turn in batch]) for name in batch[0].feeds}
            try:
                arrays = self._run(joint)
            except Exception:  # of one of them; which one shows when each runs alone
                pass
            else:
                ends = np.cumsum([turn.rows for turn in batch])[:-1]
                for turn, parts in zip(batch, zip(*(np.split(a, ends) for a in arrays), strict=True), strict=True):
                    turn.arrays = list(parts)
                return
        for turn in batch:
            try:
                turn.arrays = self._run(turn.feeds)
            except Exception as error:
                turn.error = error
