"""What a worker notes of each question to a version, at next to no cost; the rest of the work is the watch's."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, Feeds
    from when_ml_pipeline_meets_hydra.serving.http.models import Served

T = TypeVar("T")
MOST_ROWS = 500  # that are kept between two looks of the watch


class Rows(NamedTuple):
    """Inputs of a graph by name and its outputs in order, for N rows each."""

    feeds: Feeds
    outputs: list[Array]


class Noted(NamedTuple):
    """What came since the last look: times in s of the requests that were answered, failures, and some of the rows."""

    seconds: list[float]
    failures: int
    rows: list[Rows]


class Seen:
    """What was asked of one version."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._failures: list[None] = []
        self._rows: list[Rows] = []
        self._room = MOST_ROWS
        self._runs, self._every = 0, 1

    def answered(self, seconds: float) -> None:
        """A request was answered."""
        self._seconds.append(seconds)

    def failed(self) -> None:
        """A request was not."""
        self._failures.append(None)

    def rows(self, feeds: Feeds, outputs: list[Array]) -> None:
        """The graph has run. Of more rows than there is room for, those are kept that are spread over all of them."""
        self._runs += 1
        if self._runs % self._every or self._room <= 0 or not (count := len(outputs[0])):
            return
        step = -(-count // self._room)
        if step > 1:  # copies, so that the rest can go
            feeds = {name: array[::step].copy() for name, array in feeds.items()}
            outputs = [array[::step].copy() for array in outputs]
        self._room -= len(outputs[0])
        self._rows.append(Rows(feeds, outputs))

    def take(self) -> Noted:
        """All since the last time."""
        seconds, self._seconds = self._seconds, []
        failures, self._failures = self._failures, []
        rows, self._rows = self._rows, []
        self._runs, self._every = 0, max(1, self._runs // MOST_ROWS)
        self._room = MOST_ROWS
        return Noted(seconds, len(failures), rows)


def asked(served: Served, ask: Callable[[Served], T]) -> T:
    """What ``ask`` says, of this version or, where a canary fails, of the active one.

    A request that the active version cannot answer either is no failure of the canary.
    """
    started = perf_counter()
    try:
        answer = ask(served)
    except Exception:
        if served.stand_in is None:
            served.seen.failed()
            raise
        answer = asked(served.stand_in, ask)
        served.seen.failed()
        return answer
    served.seen.answered(perf_counter() - started)
    return answer
