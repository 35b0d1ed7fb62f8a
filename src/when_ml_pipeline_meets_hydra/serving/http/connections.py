"""HTTP connections with limits for the head of a request, which uvicorn has not."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from when_ml_pipeline_meets_hydra.serving.http.listening import Listening

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
)
FRAME_BYTES = 16  # a chunk's size and line ends


class Connection(HttpToolsProtocol):
    """HTTP connection with limits of time and size for the head of each request.

    Uvicorn has a time limit for idle keep-alive connections alone, and its parser collects headers of any size. What
    is neither head nor body (the frames of chunks, trailers) is limited as well.
    """

    def __init__(self, settings: Listening, **protocol: Any) -> None:
        super().__init__(**protocol)
        self._seconds, self._limit = settings.receive_timeout, settings.header_limit
        self._head_due: asyncio.TimerHandle | None = None
        self._extra = 0  # bytes of this request that are no body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        self._extra += len(data)
        super().data_received(data)
        if self._extra > self._limit and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """Wait for the rest of the head."""
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Handle the request, unless its head is too large."""
        self._cancel_timer()
        if self._extra > self._limit and self._head_size() > self._limit:
            self._refuse()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._extra = max(0, self._extra - len(body) - FRAME_BYTES)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        self._extra = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._cancel_timer()
        super().connection_lost(exc)

    def give_up_incomplete(self) -> None:
        """Close the connection if a request has begun but not arrived completely."""
        if self._head_due is not None or (self.cycle is not None and self.cycle.more_body):
            self.transport.close()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self) -> None:
        body = b'{"error":"the head of a request may have %d bytes"}' % self._limit
        self.transport.write(TOO_LARGE % (len(body), body))
        self.transport.close()

    def _start_timer(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self._seconds, self.timeout_keep_alive_handler)

    def _cancel_timer(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
