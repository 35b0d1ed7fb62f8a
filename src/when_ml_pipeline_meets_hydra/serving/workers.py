"""The supervisor of the processes that serve requests: replaces those that died, hang or are outdated.

It owns the listening socket, so that connections wait while no worker is running. Each worker reports about twice a
second from its event loop; one that falls silent is killed, and one in which a prediction cannot be ended is replaced.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnProcess

from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.serving.http.settings import Settings
from when_ml_pipeline_meets_hydra.serving.worker import GRACE_SECONDS, STARTUP_FAILURE, STUCK, work

log = logging.getLogger(__name__)

SILENT_SECONDS = 5  # a worker's event loop that has not run for so long hangs
START_SECONDS = 60
PAUSE_SECONDS = 2  # between two starts, if the first one failed
CHECK_SECONDS = 0.2


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM; requests already received are completed.

    Raises:
        StepFailed: no worker could start.
    """
    _Supervisor(settings, listener).run()


@dataclass(kw_only=True, eq=False)
class _Worker:
    """A worker process, when it was heard from, and by when it has to have ended, if it has been told to."""

    process: SpawnProcess
    reports: connection.Connection
    heard: float = field(default_factory=time.monotonic)
    started: bool = False
    stuck: bool = False
    end_by: float | None = None

    def listen(self) -> None:
        """Read its reports."""
        try:
            reports = os.read(self.reports.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if reports:
            self.heard, self.started = time.monotonic(), True
            self.stuck |= STUCK in reports

    @property
    def silent(self) -> float:
        """Seconds beyond the time that it may be silent."""
        return time.monotonic() - self.heard - (SILENT_SECONDS if self.started else START_SECONDS)

    def stop(self) -> None:
        """Ask it to complete its requests and to end."""
        if self.end_by is None:
            self.end_by = time.monotonic() + GRACE_SECONDS
            self.process.terminate()

    def kill(self, why: str) -> None:
        """End it at once."""
        log.warning("worker %s %s; it is killed", self.process.pid, why)
        self.process.kill()
        self.process.join()


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings, self._listener = settings, listener
        self._workers: list[_Worker] = []
        self._outdated: list[_Worker] = []
        self._signals: list[int] = []
        self._next_start = 0.0

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        try:
            while not self._must_stop():
                self._start_missing()
                self._wait()
                self._remove_ended()
                self._replace()
        finally:
            self._stop()

    def _must_stop(self) -> bool:
        signals, self._signals = self._signals, []
        if signal.SIGHUP in signals:
            self._outdated = list(self._workers)
        return signal.SIGINT in signals or signal.SIGTERM in signals

    def _start_missing(self) -> None:
        now = time.monotonic()
        wanted = self._settings.workers + bool(self._to_replace())
        while sum(worker.end_by is None for worker in self._workers) < wanted and now >= self._next_start:
            self._workers.append(_start(self._settings, self._listener))

    def _wait(self) -> None:
        """Wait a moment, or until a worker ends; read the reports."""
        began = time.monotonic()
        connection.wait([worker.process.sentinel for worker in self._workers], CHECK_SECONDS)
        for worker in self._workers:
            worker.listen()
            if time.monotonic() - began > SILENT_SECONDS / 2:  # this process itself was suspended
                worker.heard = time.monotonic()

    def _remove_ended(self) -> None:
        for worker in list(self._workers):
            if worker.process.is_alive():
                if worker.silent > 0:
                    worker.kill("is silent" if worker.started else "did not start in time")
                elif worker.end_by is not None and time.monotonic() > worker.end_by:
                    worker.kill("did not end in time")
                else:
                    continue
            self._ended(worker)

    def _ended(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        pid, code = worker.process.pid, worker.process.exitcode
        worker.reports.close()
        worker.process.close()
        _remove_metrics_of(pid)
        if worker.end_by is None:
            when = "" if worker.started else " before it was ready"
            log.warning("worker %s ended%s; starting another one", pid, when)
            if not worker.started:
                self._did_not_start(code)

    def _did_not_start(self, code: int | None) -> None:
        if any(worker.started for worker in self._workers):
            if self._outdated:
                log.error("workers that serve are not replaced, since new ones do not start")
            self._outdated.clear()
        elif code == STARTUP_FAILURE:  # it would fail in the same way each time
            raise StepFailed("The server could not start; the log lines above show the reason")
        self._next_start = time.monotonic() + PAUSE_SECONDS

    def _to_replace(self) -> list[_Worker]:
        """Return the workers that are to be replaced by a new one, which starts before they end."""
        self._outdated = [worker for worker in self._outdated if worker in self._workers and worker.end_by is None]
        return [worker for worker in self._workers if worker.stuck and worker.end_by is None] or self._outdated

    def _replace(self) -> None:
        """Stop one of the workers that are to be replaced, once there is another one in its place."""
        serving = [worker for worker in self._workers if worker.started and worker.end_by is None]
        if (outdated := self._to_replace()) and len(serving) > self._settings.workers:
            if outdated[0].stuck:
                log.warning("worker %s has a prediction that cannot be ended; replaced", outdated[0].process.pid)
            outdated[0].stop()

    def _stop(self) -> None:
        # Close the socket first: new connections are refused at once, instead of waiting for workers that stop.
        self._listener.close()
        for worker in self._workers:
            worker.end_by = None
            worker.stop()
        end = time.monotonic() + GRACE_SECONDS
        while any(worker.process.is_alive() for worker in self._workers):
            if time.monotonic() > end or self._signals:  # a second signal ends them at once
                break
            connection.wait([w.process.sentinel for w in self._workers if w.process.is_alive()], CHECK_SECONDS)
        for worker in self._workers:
            if worker.process.is_alive():
                worker.kill("did not end in time")


def _start(settings: Settings, listener: socket.socket) -> _Worker:
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(settings, listener, sending))
    process.start()
    sending.close()
    os.set_blocking(receiving.fileno(), False)
    return _Worker(process=process, reports=receiving)


def _remove_metrics_of(pid: int | None) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
