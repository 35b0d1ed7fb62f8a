"""Worker processes that serve requests, and the supervisor that restarts them.

The supervisor is uvicorn's: it replaces a worker that died, and on SIGHUP replaces all workers, one after the other.
It owns the listening socket, so that connections wait while no worker is running.
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
KEEP_ALIVE_SECONDS = 65  # longer than connection pools of clients and proxies usually keep an idle connection
SWITCH_SECONDS = 0.0005
START_SECONDS = 60


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM; requests already received are completed.

    Raises:
        StepFailed: no worker could start.
    """
    config = uvicorn.Config(
        partial(_create_app, settings),
        factory=True,
        http=partial(_Connection, settings.timeout),  # type: ignore[arg-type]  # uvicorn only calls it
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
    multiprocess.Process = _Worker  # type: ignore[misc]  # uvicorn has no option for the class of its workers
    supervisor = _Supervisor(config, [listener])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise StepFailed("The server could not start; the log lines above show the reason")


def _create_app(settings: Settings) -> object:
    log_to_stderr()
    try:
        from when_ml_pipeline_meets_hydra.serving.app import create_app

        app = create_app(settings)
    except Exception:
        log.exception("a worker cannot start")
        sys.exit(STARTUP_FAILURE)
    # Background threads must not delay the event loop for as long as Python's default of 5 ms.
    sys.setswitchinterval(SWITCH_SECONDS)
    # Exclude the objects that exist now from garbage collection, which would delay a request now and then.
    gc.collect()
    gc.freeze()
    return app


def log_to_stderr() -> None:
    """Log messages of the workers and the supervisor to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name, level in (("when_ml_pipeline_meets_hydra", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        # Close the sockets first: new connections are refused at once, instead of waiting for workers that stop.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        before = {worker.pid for worker in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {worker.pid for worker in self.processes}:
            log.warning("worker %s ended; starting another one", pid)
            _remove_metrics_of(pid)


def _remove_metrics_of(pid: int | None) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _Worker(multiprocess.Process):
    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = _Server(self.config)
        return self._server

    def _healthcheck(self, timeout: float) -> bool | None:
        # Both ends of the pipe are open in this process, so reading from a worker that has died would block.
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
    """Stop this worker when the supervisor has been killed, to free the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Connection(HttpToolsProtocol):
    """HTTP connection with a timeout for the headers; uvicorn itself has one only for idle keep-alive connections."""

    def __init__(self, seconds: float, **protocol: Any) -> None:
        super().__init__(**protocol)
        self._seconds = seconds
        self._headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        self._cancel_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self._seconds, self.timeout_keep_alive_handler)

    def _cancel_timer(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no new connections, serve open ones for ``LINGER_SECONDS``, and have clients close them.

        Closing an idle connection at once would lose a request that is being sent.
        """
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        until = time.monotonic() + LINGER_SECONDS
        while self.server_state.connections and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
