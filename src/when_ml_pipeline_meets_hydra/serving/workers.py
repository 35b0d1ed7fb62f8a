"""The processes that answer, and the one that keeps them running.

The supervisor is uvicorn's: it starts another worker where one died, and on SIGHUP puts a new one into the place of
each, one after the other. The listening socket is its own, so that connections wait while a worker is missing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
from functools import partial
from multiprocessing import connection
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess, multiprocess

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 10
LINGER_SECONDS = 2
KEEP_ALIVE_SECONDS = 65  # longer than the pools of clients and proxies usually keep a connection that is not used
SWITCH_SECONDS = 0.0005
START_SECONDS = 60


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM; requests that have come are answered.

    Raises:
        StepFailed: no worker could start.
    """
    config = uvicorn.Config(
        partial(_create_app, settings),
        factory=True,
        http=partial(_Connection, settings.timeout),  # type: ignore[arg-type]  # it only calls it
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxy),
        forwarded_allow_ips=settings.proxy,
        workers=settings.workers,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    multiprocess.Process = _Worker  # type: ignore[misc]  # it has no other way to say which class a worker is
    supervisor = _Supervisor(config, [listener])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise StepFailed("The server could not start; the lines above say why")


def _create_app(settings: Settings) -> object:
    log_to_stderr()
    try:
        from when_ml_pipeline_meets_hydra.serving.app import create_app

        app = create_app(settings)
    except Exception:
        log.exception("a worker cannot start")
        sys.exit(STARTUP_FAILURE)
    # Threads that count and check must not hold up the one that answers for as long as Python's 5 ms.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is there now stays; looking through it for garbage would hold up a request now and then.
    gc.collect()
    gc.freeze()
    return app


def log_to_stderr() -> None:
    """Show what workers and supervisor have to say to whoever runs the server."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("when_ml_pipeline_meets_hydra", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        # First of all nobody new: who comes now is refused at once, instead of waiting for workers that leave.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        before = {worker.pid for worker in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {worker.pid for worker in self.processes}:
            log.warning("worker %s ended; another one takes its place", pid)
            _forget(pid)


def _forget(pid: int | None) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _Worker(multiprocess.Process):
    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = _Server(self.config)
        return self._server

    def _healthcheck(self, timeout: float) -> bool | None:
        # Both ends of its pipe are open here, so that one that dies before it answers would be waited for.
        try:
            self.parent_conn.send(b"ping")
            if self.parent_conn in connection.wait([self.parent_conn, self.process.sentinel], timeout):
                return bool(self.parent_conn.recv())
        except (OSError, EOFError, pickle.UnpicklingError):
            pass
        return None

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        threading.Thread(target=_stop_without_supervisor, daemon=True).start()
        super().target(sockets)


def _stop_without_supervisor() -> None:
    """Stop when the supervisor has been killed: whoever starts the server again needs the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Connection(HttpToolsProtocol):
    """Closes a connection of which no request comes: uvicorn itself only looks after those that had an answer."""

    def __init__(self, seconds: float, **protocol: Any) -> None:
        super().__init__(**protocol)
        self._seconds = seconds
        self._headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_headers()

    def on_headers_complete(self) -> None:
        self._headers_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self._seconds, self.timeout_keep_alive_handler)

    def _headers_came(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new, but go on answering on open connections for a moment, and ask clients to close them.

        Closing a connection that waits for its next request would lose one that is on its way.
        """
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        until = time.monotonic() + LINGER_SECONDS
        while self.server_state.connections and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
