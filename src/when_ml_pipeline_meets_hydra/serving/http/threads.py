"""Threads for predictions: apart from those of other requests, and no model may take all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CapacityLimiter

from when_ml_pipeline_meets_hydra.serving.http.responses import ErrorResponse


class PredictionThreads:
    """At most ``count`` threads for predictions, half of them for one model."""

    def __init__(self, count: int) -> None:
        self._limiter = CapacityLimiter(count)
        self._for_one = max(1, count // 2)
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, model: str) -> Iterator[CapacityLimiter]:
        """Take a thread for a model; yield the limiter that its call needs.

        Raises:
            HTTPException: the model has its share already.
        """
        if self._taken[model] >= self._for_one:
            raise ErrorResponse(503, f"too many requests to {model} at once", {"retry-after": "1"}).exception()
        self._taken[model] += 1
        try:
            yield self._limiter
        finally:
            self._taken[model] -= 1
