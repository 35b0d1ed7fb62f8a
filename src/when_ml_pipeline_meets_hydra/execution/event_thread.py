"""Calls the methods of an observer in a thread of its own, so that one that hangs does not hold up the run."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

WAIT = 1.0  # s that a run waits for one call
ALLOWANCE, SHARE = 2.0, 0.05  # s, and share of the time since the first call, that it waits in all
MOST_PENDING = 10_000  # calls of an observer that is not waited for; further ones are dropped

_here = threading.local()


def is_observing() -> bool:
    """Return whether this thread is calling an observer: what it prints is no output of a step."""
    return getattr(_here, "is_observing", False)


class EventThread:
    """Makes calls in their order, each waited for, until these have taken too long: then ``is_late``."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._process, self._first, self._waited = os.getpid(), time.monotonic(), 0.0
        self.is_late = False

    def call(self, method: Callable[..., object], *arguments: Any) -> None:
        """Call a method; raises what it raises if it returns in time."""
        if os.getpid() != self._process:  # a process that a step has forked, in which the thread does not exist
            return
        if is_observing():  # an observer that calls itself
            method(*arguments)
            return
        if self.is_late and self._calls.qsize() >= MOST_PENDING:
            return
        call = _Call(method, arguments)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=_serve, args=[self._calls], name="observer", daemon=True)
                self._thread.start()
        self._calls.put(call)
        if not self.is_late:
            self._wait_for(call)

    def _wait_for(self, call: _Call) -> None:
        started = time.monotonic()
        has_ended = call.ended.wait(WAIT)
        self._waited += time.monotonic() - started
        self.is_late = not has_ended or self._waited > ALLOWANCE + SHARE * (time.monotonic() - self._first)
        if has_ended and call.error is not None:
            raise call.error

    def close(self) -> None:
        """End the thread, once it has made the calls that wait; they are waited for a second at most."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join(WAIT)


class _Call:
    def __init__(self, method: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._method, self._arguments, self._context = method, arguments, contextvars.copy_context()
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def make(self) -> None:
        try:
            self._context.run(self._method, *self._arguments)
        except BaseException as error:
            self.error = error
        self.ended.set()


def _serve(calls: SimpleQueue[_Call | None]) -> None:
    _here.is_observing = True
    while (call := calls.get()) is not None:
        call.make()
