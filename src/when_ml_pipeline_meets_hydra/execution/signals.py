"""Ctrl-C, SIGTERM and SIGHUP: what runs is interrupted, what is finished is kept, within a second."""

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
PATIENCE = 0.4  # s for a step to come to an end by itself
_AT_ONCE = 0.2  # s in which several signals are the same wish: a closed terminal sends two


class Interrupts:
    """While it is entered, a signal raises ``KeyboardInterrupt`` inside of ``allowed``; elsewhere it is only noted.

    Where code inside of ``allowed`` does not end in time (it sits in a library that is not written in Python, or
    catches everything), ``at_the_end`` is called from another thread and the process ends. A second signal ends it at
    once.

    Does nothing outside of the main thread and in an interactive interpreter, and leaves handlers alone that somebody
    else has installed.
    """

    def __init__(self, at_the_end: Callable[[], None]) -> None:
        self._at_the_end = at_the_end
        self._asked_at: float | None = None
        self._is_inside = False
        self._before: dict[signal.Signals, object] = {}
        self._began = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else 0.0

    @property
    def asked(self) -> bool:
        """Whether somebody wants the run to end."""
        return self._asked_at is not None

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
        """Raise ``KeyboardInterrupt`` in this block, also for a signal that came before it."""
        if self._before:
            signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)  # an event loop in a step takes it away
        self._is_inside = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_inside = False

    def end_processes(self) -> None:
        """Kill what this process has started since it was entered, with all that those have started."""
        if self._before:
            for _ in range(3):  # one may start another one meanwhile
                for process in descendants(os.getpid(), since=self._began):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(process, signal.SIGKILL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if self._is_inside:
                raise KeyboardInterrupt
        elif now - self._asked_at > _AT_ONCE:
            self._end()

    def _watch(self, signals: int) -> None:
        with open(signals, "rb", buffering=0) as stream:
            while seen := stream.read(1):
                if seen[0] in self._before:
                    time.sleep(PATIENCE)
                    if self._is_inside:
                        self._end()

    def _end(self) -> None:
        try:
            if self._is_inside:  # otherwise the outcome is just being noted
                self._at_the_end()
            self.end_processes()
        finally:
            os._exit(EXIT_STATUS)


def descendants(process: int, *, since: float) -> list[int]:
    """The processes below ``process`` that were started ``since`` (s since boot); none where there is no ``/proc``."""
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
