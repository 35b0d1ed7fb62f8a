"""A worker process: serves requests with uvicorn, and reports to the supervisor that its event loop runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from multiprocessing import connection

import uvicorn
from uvicorn.config import STARTUP_FAILURE as STARTUP_FAILURE

from when_ml_pipeline_meets_hydra.serving.http.connections import Connection
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 10  # from the signal to the end
LINGER_SECONDS = 2
KEEP_ALIVE_SECONDS = 65  # longer than connection pools of clients and proxies usually keep an idle connection
SWITCH_SECONDS = 0.0005
STUCK_SECONDS = 0.5  # after its time, a run should have ended
TICKS_PER_REPORT = 5
RUNS, STUCK = b".", b"!"  # reports


def work(settings: Settings, listener: socket.socket, reports: connection.Connection) -> None:
    """Serve requests until SIGTERM or SIGINT."""
    threading.Thread(target=_stop_without_supervisor, daemon=True).start()
    log_to_stderr()
    with suppress(KeyboardInterrupt):
        _Server(_config(settings), reports).run([listener])
    # Threads with a prediction that cannot be ended must not delay the end.
    logging.shutdown()
    os._exit(0)


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        partial(_create_app, settings),
        factory=True,
        http=partial(Connection, settings),  # type: ignore[arg-type]  # uvicorn only calls it
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxy),
        forwarded_allow_ips=settings.proxy,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS - LINGER_SECONDS - 1,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


def _create_app(settings: Settings) -> object:
    try:
        from when_ml_pipeline_meets_hydra.serving.app import create_app
        from when_ml_pipeline_meets_hydra.serving.engine.scorer import limit_memory

        limit_memory(settings.memory_limit)
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


def _stop_without_supervisor() -> None:
    """Stop this worker when the supervisor has been killed, to free the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(1)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, reports: connection.Connection) -> None:
        super().__init__(config)
        self._reports = reports
        os.set_blocking(reports.fileno(), False)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_REPORT == 0 or _has_stuck_run():
            self._report()
        return await super().on_tick(counter)

    def _report(self) -> None:
        """Write a report; the supervisor reads it within a second, unless it is suspended or dead."""
        with suppress(OSError):
            os.write(self._reports.fileno(), STUCK if _has_stuck_run() else RUNS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no new connections, serve open ones for ``LINGER_SECONDS``, and have clients close them.

        Closing an idle connection at once would lose a request that is being sent. Requests that have not been received
        by then are not awaited.
        """
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await self._run_on(LINGER_SECONDS)
        for open_connection in list(self.server_state.connections):
            if isinstance(open_connection, Connection):
                open_connection.give_up_incomplete()
        end = asyncio.create_task(super().shutdown(sockets))
        while not end.done():
            self._report()
            await asyncio.wait([end], timeout=0.5)
        await end

    async def _run_on(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.server_state.connections and not self.force_exit and time.monotonic() < until:
            self._report()
            await asyncio.sleep(0.02)


def _has_stuck_run() -> bool:
    from when_ml_pipeline_meets_hydra.serving.engine.deadlines import DEADLINES

    return DEADLINES.overdue() > STUCK_SECONDS
