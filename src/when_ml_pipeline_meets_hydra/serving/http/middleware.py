"""What stands before the application: who may come in, how much they may bring, and a line about each request."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime

from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from when_ml_pipeline_meets_hydra.serving.http import metrics
from when_ml_pipeline_meets_hydra.serving.http.authentication import Logins
from when_ml_pipeline_meets_hydra.serving.http.responses import Refusal
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings

HEALTH = "/v2/health/"
MANAGEMENT, UPLOAD = "/v2/repository/", "/versions"
CHANGES_AT_ONCE = 4
STDERR = 2
FOREIGN = Refusal(403, "a page of another site must not call this server")
FULL = Refusal(503, "the server works on as much as it can at once", {"retry-after": "1"})
COMPRESSED = Refusal(415, "a compressed body is not taken")


class Gate:
    """HTTP Basic authentication on everything but health; pages of other sites may send nothing at all."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        self._app, self._logins = app, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in whoever brings an id and its password."""
        if scope["type"] == "http" and not scope["path"].startswith(HEALTH):
            authorization = _header(scope, b"authorization")
            account = self._logins.remembered(authorization)
            if account is None:
                address = (scope.get("client") or ["-"])[0]
                found = await self._logins.check(authorization, address)
                if isinstance(found, Refusal):
                    await found.send(send)
                    return
                account = found
            if _comes_from_other_site(scope):
                await FOREIGN.send(send)
                return
            state = scope.setdefault("state", {})
            state["user"], state["role"] = account
        await self._app(scope, receive, send)


class Limits:
    """Refuses what is too large, too much at once, or too slow."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._requests = self._changes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is within the limits."""
        if scope["type"] != "http" or scope["path"].startswith(HEALTH):
            await self._app(scope, receive, send)
            return
        is_change = scope["method"] == "POST" and scope["path"].startswith(MANAGEMENT)
        is_upload = is_change and scope["path"].endswith(UPLOAD)
        limit = self._settings.upload_limit if is_upload else self._settings.request_limit
        announced = _header(scope, b"content-length")
        if _header(scope, b"content-encoding") not in (b"", b"identity"):
            await COMPRESSED.send(send)
        elif announced.isdigit() and int(announced[:20]) > limit:
            await _too_large(limit).send(send)
        elif is_change:
            await self._change(scope, _counted(receive, limit), send)
        else:
            await self._request(scope, _counted(receive, limit), send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._requests >= self._settings.concurrency:
            await FULL.send(send)
            return
        begun = came = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        async def coming() -> Message:
            nonlocal came
            message = await receive()
            came = not message.get("more_body", False)
            return message

        self._requests += 1
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._app(scope, coming, noted)
        except TimeoutError:
            if not begun:
                await (self._no_answer() if came else self._no_request()).send(send)
        finally:
            self._requests -= 1

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only waits so long for each part: a change that has begun is brought to its end, however long it takes."""
        if self._changes >= CHANGES_AT_ONCE:
            await FULL.send(send)
            return

        async def coming() -> Message:
            try:
                return await asyncio.wait_for(receive(), self._settings.timeout)
            except TimeoutError:
                raise self._no_request().exception() from None

        self._changes += 1
        try:
            await self._app(scope, coming, send)
        finally:
            self._changes -= 1

    def _no_request(self) -> Refusal:
        return Refusal(408, f"the request did not come within {self._settings.timeout:g} s", {"connection": "close"})

    def _no_answer(self) -> Refusal:
        return Refusal(503, f"there was no answer within {self._settings.timeout:g} s", {"retry-after": "1"})


class AccessLog:
    """A line of JSON on stderr for each request, and numbers for Prometheus. Neither headers nor queries nor bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), 0, 0

        async def noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            _note(scope, status, size, time.perf_counter() - started)


def _note(scope: Scope, status: int, size: int, seconds: float) -> None:
    state = scope.get("state", {})
    model, version, rows = state.get("asked", ("", "", 0))
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
        # The path as it came, percent-encoded: a decoded one could forge lines.
        "path": scope.get("raw_path", b"").decode("ascii", "replace"),
        "status": status,
        "ms": round(seconds * 1000, 2),
        "bytes": size,
    }
    if model:
        line |= {"model": model, "version": version, "rows": rows}
    # One call for the whole line, so that those of several workers do not mix.
    os.write(STDERR, to_json(line) + b"\n")


def _route(scope: Scope) -> str:
    """The path's pattern: the paths themselves are too many to count each."""
    if route := scope.get("state", {}).get("route"):
        return str(route)
    return getattr(scope.get("route"), "path", "-")


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit).exception()
        return message

    return counted


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit} bytes", {"connection": "close"})


def _comes_from_other_site(scope: Scope) -> bool:
    # A browser that remembers the password would send it along with another site's requests.
    origin = _header(scope, b"origin")
    return bool(origin) and origin.partition(b"://")[2] != _header(scope, b"host")


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
