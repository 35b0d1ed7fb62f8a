"""What stands before the application: who may come in, how much they may bring, and a line about each request."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("when_ml_pipeline_meets_hydra.access")

HEALTH = "/v2/health/"
UPLOAD = "/versions"
REALM = 'Basic realm="models", charset="UTF-8"'


class Gate:
    """HTTP Basic authentication on everything but health; pages of other sites may send nothing at all."""

    def __init__(self, app: ASGIApp, *, user: str, password: str) -> None:
        self._app, self._user = app, user
        self._expected = f"{user}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in whoever brings the id and the password."""
        if scope["type"] == "http" and not scope["path"].startswith(HEALTH):
            if not self._knows(_header(scope, b"authorization")):
                await answer(send, 401, "an id and a password are needed", {"www-authenticate": REALM})
                return
            if _comes_from_other_site(scope):
                await answer(send, 403, "a page of another site must not call this server")
                return
            scope.setdefault("state", {})["user"] = self._user
        await self._app(scope, receive, send)

    def _knows(self, header: bytes) -> bool:
        kind, _, encoded = header.partition(b" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except binascii.Error:
            return False
        # Compares id and password in one go, in a time that does not depend on where they differ.
        return kind.lower() == b"basic" and hmac.compare_digest(given, self._expected)


class SizeLimit:
    """Refuses bodies above a number of bytes, by what they announce and by what really comes."""

    def __init__(self, app: ASGIApp, *, request: int, upload: int) -> None:
        self._app, self._request, self._upload = app, request, upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload if scope["path"].endswith(UPLOAD) else self._request
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, wrong, {"connection": "close"})
            return message

        wrong = f"the body is larger than {limit} bytes"
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced[:20]) > limit:
            await answer(send, 413, wrong, {"connection": "close"})
        else:
            await self._app(scope, counted, send)


class AccessLog:
    """One line per request: who, what, which answer, how long. Neither headers nor queries nor bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            took = (time.perf_counter() - started) * 1000
            client = (scope.get("client") or ["-"])[0]
            user = scope.get("state", {}).get("user", "-")
            # The path as it came, percent-encoded: a decoded one could forge lines.
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            log.info("%s %s %s %s %d %.1fms", client, user, scope["method"], path, status, took)


async def answer(send: Send, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
    """Send an error in the protocol's form."""
    body = json.dumps({"error": error}).encode()
    fields: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
    fields += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    fields.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _comes_from_other_site(scope: Scope) -> bool:
    # A browser that remembers the password would send it along with another site's requests.
    origin = _header(scope, b"origin")
    return bool(origin) and origin.partition(b"://")[2] != _header(scope, b"host")


def _header(scope: Scope, name: bytes) -> bytes:
    headers: Any = scope["headers"]
    return next((value for key, value in headers if key == name), b"")
