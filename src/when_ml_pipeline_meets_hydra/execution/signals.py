"""Handling of Ctrl-C, SIGTERM and SIGHUP: running steps are interrupted within a second, finished ones are kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_STATUS = 130
GRACE_PERIOD = 0.4  # s for an interrupted step to return
_leave_process = os._exit  # a step may find another one
_AT_ONCE = 0.2  # s in which several signals count as one: a closed terminal sends two


class Interrupts:
    """Context in which a signal raises ``KeyboardInterrupt`` inside ``allowed``, and is only recorded elsewhere.

    If code inside ``allowed`` does not end in time (it runs native code, or catches everything), ``on_forced_exit`` is
    called from another thread and the process exits. A second signal makes it exit immediately.

    Does nothing outside the main thread and in an interactive interpreter, and keeps handlers installed by others.
    """

    def __init__(self, on_forced_exit: Callable[[], None]) -> None:
        self._on_forced_exit = on_forced_exit
        self._requested_at: float | None = None
        self._is_inside = False
        self._ending = threading.Lock()
        self._before: dict[signal.Signals, object] = {}
        self._began = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else 0.0

    @property
    def is_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._requested_at is not None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread() and not hasattr(sys, "ps1"):
            ours = {s for s in SIGNALS if signal.getsignal(s) in (signal.SIG_DFL, signal.default_int_handler)}
            self._before = {s: signal.signal(s, self._handle) for s in sorted(ours)}
        if self._before:
            read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._other = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=[read], name="interrupts", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            signal.set_wakeup_fd(self._other)
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            os.close(self._write)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let signals raise ``KeyboardInterrupt`` in this block, also one that arrived before."""
        if self._before:
            signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)  # an event loop in a step resets it
        self._is_inside = True
        try:
            if self.is_requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_inside = False

    def end_processes(self) -> None:
        """Kill the descendants of this process that were started inside the context."""
        if self._before:
            for _ in range(3):  # a process may start another one meanwhile
                for process in descendants(os.getpid(), since=self._began):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(process, signal.SIGKILL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._requested_at is None:
            self._requested_at = now
            if self._is_inside:
                raise KeyboardInterrupt
        elif now - self._requested_at > _AT_ONCE:
            self._end()

    def _watch(self, signals: int) -> None:
        with open(signals, "rb", buffering=0) as stream:
            while received := stream.read(1):
                if received[0] in self._before:
                    time.sleep(GRACE_PERIOD)
                    if self._is_inside:
                        self._end()

    def _end(self) -> None:
        if not self._ending.acquire(blocking=False):  # another thread is at it
            return
        try:
            if self._is_inside:  # otherwise an outcome is just being recorded
                self._on_forced_exit()
            self.end_processes()
        finally:
            _leave_process(EXIT_STATUS)


def descendants(process: int, *, since: float) -> list[int]:
    """Return the descendants of ``process`` started after ``since`` (s since boot); none without ``/proc``."""
    tick = os.sysconf("SC_CLK_TCK")
    children: dict[int, list[tuple[int, float]]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent, *others = (entry / "stat").read_text().rpartition(")")[2].split()
            if state != "Z":
                children.setdefault(int(parent), []).append((int(entry.name), int(others[17]) / tick))
    found, todo = [], [process]
    while todo:
        below = [child for child, began in children.get(todo.pop(), []) if began >= since - 1 / tick]
        found += below
        todo += below
    return found
