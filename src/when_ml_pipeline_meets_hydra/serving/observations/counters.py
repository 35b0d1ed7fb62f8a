"""Per-version request counters, cheap enough for the hot path; a background thread evaluates them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.engine.encode import Array, Feeds
    from when_ml_pipeline_meets_hydra.serving.http.models import ServedVersion

T = TypeVar("T")
MAX_ROWS = 500  # kept between two snapshots


class Rows(NamedTuple):
    """Inputs of a graph by name and its outputs in order, N rows each."""

    feeds: Feeds
    outputs: list[Array]


class Snapshot(NamedTuple):
    """Counts since the previous snapshot: seconds of each successful request, failures, and a sample of the rows."""

    seconds: list[float]
    failures: int
    rows: list[Rows]


class RequestCounters:
    """Request counters of one version."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._failures: list[None] = []
        self._rows: list[Rows] = []
        self._capacity = MAX_ROWS
        self._runs, self._every = 0, 1

    def record_success(self, seconds: float) -> None:
        """Count a successful request."""
        self._seconds.append(seconds)

    def record_failure(self) -> None:
        """Count a failed request."""
        self._failures.append(None)

    def record_rows(self, feeds: Feeds, outputs: list[Array]) -> None:
        """Keep the rows of a run of the graph, or an evenly spaced sample of them where there are too many."""
        self._runs += 1
        if self._runs % self._every or self._capacity <= 0 or not (count := len(outputs[0])):
            return
        step = -(-count // self._capacity)
        if step > 1:  # copies, so that the full arrays can be freed
            feeds = {name: array[::step].copy() for name, array in feeds.items()}
            outputs = [array[::step].copy() for array in outputs]
        self._capacity -= len(outputs[0])
        self._rows.append(Rows(feeds, outputs))

    def snapshot(self) -> Snapshot:
        """Return the counts since the previous snapshot, and reset them."""
        seconds, self._seconds = self._seconds, []
        failures, self._failures = self._failures, []
        rows, self._rows = self._rows, []
        self._runs, self._every = 0, max(1, self._runs // MAX_ROWS)
        self._capacity = MAX_ROWS
        return Snapshot(seconds, len(failures), rows)


def with_fallback(
    served: ServedVersion, predict: Callable[[ServedVersion], T], passed: tuple[type[Exception], ...] = ()
) -> T:
    """Return the result of ``predict`` on this version or, where a canary fails, on the active one.

    A request that fails on the active version too is not counted as a failure of the canary. Exceptions of the classes
    ``passed`` do not count: the caller tries again.
    """
    started = perf_counter()
    try:
        prediction = predict(served)
    except passed:
        raise
    except Exception:
        if served.fallback is None:
            served.counters.record_failure()
            raise
        prediction = with_fallback(served.fallback, predict)
        served.counters.record_failure()
        return prediction
    served.counters.record_success(perf_counter() - started)
    return prediction
