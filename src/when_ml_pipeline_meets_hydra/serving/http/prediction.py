"""Handles inference requests: reads them, and runs the model at once or in a thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from anyio import to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from when_ml_pipeline_meets_hydra.serving.engine.deadlines import OutOfTime
from when_ml_pipeline_meets_hydra.serving.http.loading import Loads
from when_ml_pipeline_meets_hydra.serving.http.metrics import count_violations
from when_ml_pipeline_meets_hydra.serving.http.models import LoadedVersions, ServedVersion
from when_ml_pipeline_meets_hydra.serving.http.requests import (
    HEADER_LENGTH,
    InferBody,
    PredictBody,
    ResponseBody,
    read_infer,
    read_predict,
)
from when_ml_pipeline_meets_hydra.serving.http.responses import ErrorResponse, no_response
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.http.threads import PredictionThreads
from when_ml_pipeline_meets_hydra.serving.observations.counters import with_fallback

InferenceRequest = PredictBody | InferBody
Reader = Callable[[bytes, str | None], InferenceRequest]
Passed = tuple[type[Exception], ...]

_READERS: dict[str, Reader] = {"predict": read_predict, "infer": read_infer}
_ROUTES = {
    (action, is_active): f"/v2/models/{{model}}/{'' if is_active else 'versions/{version}/'}{action}"
    for action in _READERS
    for is_active in (True, False)
}
_HEADER_LENGTH = HEADER_LENGTH.lower().encode()
# With fewer values, the model is faster than the switch to a thread.
INLINE_VALUES = 2000
INLINE_SECONDS = 0.05  # a run in the event loop that takes longer is ended, and repeated in a thread


class Predictor:
    """Answers inference requests with the versions in memory."""

    def __init__(self, loaded: LoadedVersions, loads: Loads, settings: Settings) -> None:
        self._loaded, self._loads = loaded, loads
        self._row_limit, self._timeout = settings.row_limit, settings.timeout
        self._threads = PredictionThreads(settings.concurrency)

    async def predict(
        self, scope: Scope, receive: Receive, action: str, model: str, version: int | None
    ) -> ResponseBody:
        """Return the response to a request whose body is still to be received.

        Raises:
            Exception: one that ``error_response`` turns into a response.
        """
        # Look up the model first: an unknown one is an error whatever the body is.
        loaded = self._loaded
        served = loaded.routed_in_memory(model) if version is None else loaded.version_in_memory(model, version)
        body = await _body(receive)
        if served is None:
            shared = self._loads.shared
            served = await (shared(loaded.routed, model) if version is None else shared(loaded.version, model, version))
        json_length = next((value.decode("latin-1") for key, value in scope["headers"] if key == _HEADER_LENGTH), None)
        request = _READERS[action](body, json_length)
        if request.count > self._row_limit:
            raise ErrorResponse(413, f"{request.count} rows, but a request may have {self._row_limit}").exception()
        state = scope.setdefault("state", {})
        state["target"] = served.model, served.number, request.count
        state["route"] = _ROUTES[action, version is None]
        run = _run if version is not None else _run_with_fallback
        scorer = served.scorer
        if scorer.steady and not scorer.slow and request.count * len(scorer.manifest.inputs) <= INLINE_VALUES:
            try:
                return run(served, request, time.monotonic() + INLINE_SECONDS, (OutOfTime,))
            except OutOfTime:
                scorer.was_late()
        # On a timeout, the client gets an error at once; the thread is not awaited, since its run is ended as well.
        with self._threads.place(model) as limiter:
            until = state.get("until", math.inf)
            try:
                return await to_thread.run_sync(run, served, request, until, abandon_on_cancel=True, limiter=limiter)
            except OutOfTime:
                raise no_response(self._timeout).exception() from None


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def served_version(loaded: LoadedVersions, loads: Loads, model: str, version: int | None) -> ServedVersion:
    """Return a version; without a number the active one."""
    if version is None:
        served = loaded.active_in_memory(model)
        return served if served is not None else await loads.shared(loaded.active, model)
    served = loaded.version_in_memory(model, version)
    return served if served is not None else await loads.shared(loaded.version, model, version)


def _run(served: ServedVersion, request: InferenceRequest, until: float, _: Passed = ()) -> ResponseBody:
    feeds = request.feeds(served.scorer.manifest)
    if served.scorer.contracts:
        served.scorer.contracts.check(feeds, partial(count_violations, served.model, served.number))
    return request.response(served, served.scorer.run(feeds, until))


def _run_with_fallback(
    served: ServedVersion, request: InferenceRequest, until: float, passed: Passed = ()
) -> ResponseBody:
    def predict(version: ServedVersion) -> ResponseBody:
        now = time.monotonic()
        # Half of the time, so that the fallback has some left.
        return _run(version, request, until if version.fallback is None else now + (until - now) / 2)

    return with_fallback(served, predict, passed)
