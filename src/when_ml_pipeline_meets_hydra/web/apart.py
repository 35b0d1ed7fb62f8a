"""A process of its own for what takes seconds, so that pages are served meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from threading import Lock
from typing import ParamSpec, TypeVar

from when_ml_pipeline_meets_hydra.errors import StepFailed

P = ParamSpec("P")
T = TypeVar("T")


class Apart:
    """Runs functions of modules one after the other in a process, which is started when the first one is."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._process = 0  # its id
        self._lock = Lock()

    def run(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Return what a function returns, or raise what it raises.

        Raises:
            StepFailed: the process was killed, for example for its memory.
        """
        pool = None
        try:
            with self._lock:
                pool = self._started()
                future = pool.submit(function, *arguments, **named)
            return future.result()
        except (BrokenProcessPool, CancelledError):
            with self._lock:
                if pool in (None, self._pool):
                    self._pool = None
            raise StepFailed("The process that computes this was ended. Load the page again.") from None

    def close(self) -> None:
        """End the process at once; what it computes is only read, or is published as a whole or not at all."""
        with self._lock:
            pool, self._pool = self._pool, None
            if pool:
                with suppress(ProcessLookupError):
                    os.kill(self._process, signal.SIGKILL)
                pool.shutdown(cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_ignore_interrupts)
            self._process = self._pool.submit(os.getpid).result()
        return self._pool


def _ignore_interrupts() -> None:
    """Ctrl-C at the terminal reaches all processes; the one that serves ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
