"""ASGI middleware: authentication, limits, and the access log."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.serving.http import metrics
from when_ml_pipeline_meets_hydra.serving.http.authentication import Logins
from when_ml_pipeline_meets_hydra.serving.http.responses import ErrorResponse, no_response
from when_ml_pipeline_meets_hydra.serving.http.settings import UPLOADS_AT_ONCE, Settings

HEALTH = "/v2/health/"
MANAGEMENT, UPLOAD = "/v2/repository/", "/versions"
LOADING = ("/activate", "/canary", "/load")  # changes that load a version first
# Uploads and loads may take long: they are counted apart, so that they leave room for others, such as a rollback.
AT_ONCE = {"uploads": UPLOADS_AT_ONCE, "loads": 2, "changes": 4}
UPLOAD_SECONDS = 600  # to receive a bundle
BODILESS = ("GET", "HEAD")
STDERR = 2
CROSS_SITE = ErrorResponse(403, "cross-site requests are not allowed")
OVERLOADED = ErrorResponse(503, "too many requests at once", {"retry-after": "1"})
UNSUPPORTED_ENCODING = ErrorResponse(415, "compressed bodies are not supported")


class Authentication:
    """HTTP Basic authentication on everything but health; rejects cross-site requests of browsers."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        self._app, self._logins = app, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on requests with a valid id and password."""
        if scope["type"] == "http" and not scope["path"].startswith(HEALTH):
            authorization = _header(scope, b"authorization")
            account = self._logins.cached(authorization)
            if account is None:
                address = (scope.get("client") or ["-"])[0]
                result = await self._logins.check(authorization, address)
                if isinstance(result, ErrorResponse):
                    await result.send(send)
                    return
                account = result
            if _is_cross_site(scope):
                await CROSS_SITE.send(send)
                return
            state = scope.setdefault("state", {})
            state["user"], state["role"] = account
        await self._app(scope, receive, send)


class Limits:
    """Rejects requests that are too large, too many at once, or too slow."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._requests, self._changes = 0, Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on requests within the limits."""
        if scope["type"] != "http" or scope["path"].startswith(HEALTH):
            await self._app(scope, receive, send)
            return
        is_change = scope["method"] == "POST" and scope["path"].startswith(MANAGEMENT)
        is_upload = is_change and scope["path"].endswith(UPLOAD)
        limit = self._settings.upload_limit if is_upload else self._settings.request_limit
        length = _header(scope, b"content-length")
        if _header(scope, b"content-encoding") not in (b"", b"identity"):
            await UNSUPPORTED_ENCODING.send(send)
        elif length.isdigit() and int(length[:20]) > limit:
            await _too_large(limit).send(send)
        elif is_change:
            kind = "uploads" if is_upload else "loads" if scope["path"].endswith(LOADING) else "changes"
            await self._change(kind, scope, _limited(receive, limit), send)
        else:
            await self._request(scope, _limited(receive, limit), send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._requests >= self._settings.concurrency:
            await OVERLOADED.send(send)
            return
        started = received = False
        state = scope.setdefault("state", {})

        def responds() -> None:
            nonlocal received
            received = True
            state["until"] = time.monotonic() + self._settings.timeout
            limit.reschedule(asyncio.get_running_loop().time() + self._settings.timeout)

        async def tracked_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def tracked_receive() -> Message:
            message = await receive()
            if not received and not message.get("more_body", False):
                responds()
            return message

        self._requests += 1
        try:
            async with asyncio.timeout(self._settings.receive_timeout) as limit:
                if scope["method"] in BODILESS:
                    responds()
                await self._app(scope, tracked_receive, tracked_send)
        except TimeoutError:
            if not started:
                await (no_response(self._settings.timeout) if received else self._request_timeout()).send(send)
        finally:
            self._requests -= 1

    async def _change(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        if self._changes[kind] >= AT_ONCE[kind]:
            await OVERLOADED.send(send)
            return
        self._changes[kind] += 1
        try:
            await self._app(scope, self._timed(receive), send)
        finally:
            self._changes[kind] -= 1

    def _timed(self, receive: Receive) -> Receive:
        """Limit the time for the body and between two parts of it only: a change that has started is completed."""
        end = time.monotonic() + UPLOAD_SECONDS

        async def timed_receive() -> Message:
            try:
                return await asyncio.wait_for(receive(), min(self._settings.receive_timeout, end - time.monotonic()))
            except TimeoutError:
                raise self._request_timeout().exception() from None

        return timed_receive

    def _request_timeout(self) -> ErrorResponse:
        return ErrorResponse(408, f"no request within {self._settings.receive_timeout:g} s", {"connection": "close"})


class AccessLog:
    """A line of JSON on stderr for each request, and metrics; without headers, queries and bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log and count the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), 0, 0

        async def measured_send(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, measured_send)
        finally:
            _log_request(scope, status, size, time.perf_counter() - started)


def _log_request(scope: Scope, status: int, size: int, seconds: float) -> None:
    state = scope.get("state", {})
    model, version, rows = state.get("target", ("", "", 0))
    method, route = scope["method"], _route(scope)
    metrics.requests_of(method, route, model, str(version), str(status)).inc()
    metrics.duration_of(route, model, str(version)).observe(seconds)
    if rows:
        metrics.rows_of(model, str(version)).inc(rows)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": (scope.get("client") or ["-"])[0],
        "user": state.get("user"),
        "method": method,
        # The raw path, percent-encoded: a decoded one could forge lines.
        "path": scope.get("raw_path", b"").decode("ascii", "replace"),
        "status": status,
        "ms": round(seconds * 1000, 2),
        "bytes": size,
    }
    if model:
        line |= {"model": model, "version": version, "rows": rows}
    # One write for the whole line, so that lines of several workers do not mix.
    with suppress(OSError):  # a full disk, or nobody who reads any more, must not fail requests
        os.write(STDERR, to_json(line) + b"\n")


def _route(scope: Scope) -> str:
    """Return the pattern of the path; the paths themselves would be too many labels."""
    if route := scope.get("state", {}).get("route"):
        return str(route)
    return getattr(scope.get("route"), "path", "-")


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit).exception()
        return message

    return limited


def _too_large(limit: int) -> ErrorResponse:
    return ErrorResponse(413, f"the body is larger than {limit} bytes", {"connection": "close"})


def _is_cross_site(scope: Scope) -> bool:
    # A browser that has stored the password would send it with another site's requests.
    origin = _header(scope, b"origin")
    return bool(origin) and origin.partition(b"://")[2] != _header(scope, b"host")


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
