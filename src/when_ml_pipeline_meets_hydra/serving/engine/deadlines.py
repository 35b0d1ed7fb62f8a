"""Time limits of the runs of a graph.

onnxruntime ends a run whose ``terminate`` flag is set, but only between two operators, in subgraphs such as the body of
a loop as well. A run that is inside one long operator goes on: ``overdue`` tells for how long. The thread of a run that
takes long gets a lower priority (on Linux, where threads have their own), so that it does not delay short requests.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import onnxruntime

from when_ml_pipeline_meets_hydra.errors import StepFailed

TICK_SECONDS = 0.02  # runs end at most that much after their time


LONG_SECONDS = 0.2
NICER = 10
MAIN_THREAD = threading.main_thread().native_id


class OutOfTime(StepFailed):
    """A run of a graph took longer than it may."""


class _Run(NamedTuple):
    """Times of the monotonic clock, and the thread's id in the operating system."""

    began: float
    until: float
    thread: int | None


class Deadlines:
    """Runs with a time limit; one thread ends those that are out of time."""

    def __init__(self) -> None:
        self._running: dict[onnxruntime.RunOptions, _Run] = {}
        self._lowered: set[int | None] = set()
        self._watching: threading.Thread | None = None
        self._starting = threading.Lock()

    def run(self, session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Any, until: float) -> Any:
        """Run a graph until ``until`` (of the monotonic clock) at most; return its outputs.

        Raises:
            OutOfTime: it took longer.
        """
        if self._watching is None:
            self._watch()
        options = onnxruntime.RunOptions()
        thread = threading.current_thread().native_id
        self._running[options] = _Run(time.monotonic(), until, thread)
        try:
            return session.run(outputs, feeds, options)
        except Exception:  # onnxruntime's exceptions have no common base class
            if options.terminate:
                raise OutOfTime("the model took too long for this request") from None
            raise
        finally:
            del self._running[options]
            if thread in self._lowered:
                self._restore_priority(thread)

    def overdue(self) -> float:
        """Return the seconds that the latest run is over its time; 0 if all are in time."""
        ends = [run.until for run in list(self._running.values())]
        return max(0.0, time.monotonic() - min(ends, default=float("inf")))

    def end_all(self) -> None:
        """End all runs now."""
        for options in list(self._running):
            options.terminate = True

    def _watch(self) -> None:
        with self._starting:
            if self._watching is None:
                self._watching = threading.Thread(target=self._end_late_runs, name="deadlines", daemon=True)
                self._watching.start()

    def _end_late_runs(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            now = time.monotonic()
            for options, run in list(self._running.items()):
                if now > run.until:
                    options.terminate = True
                if now - run.began > LONG_SECONDS and run.thread not in (None, MAIN_THREAD, *self._lowered):
                    self._lower_priority(run.thread)

    def _lower_priority(self, thread: int | None) -> None:
        self._lowered.add(thread)
        if sys.platform == "linux":
            with suppress(OSError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, thread or 0, _nice() + NICER)

    def _restore_priority(self, thread: int | None) -> None:
        with suppress(OSError):  # it may not: then the thread keeps it, until it has been idle for some seconds
            os.setpriority(os.PRIO_PROCESS, thread or 0, _nice())
            self._lowered.discard(thread)


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, MAIN_THREAD or 0)


DEADLINES = Deadlines()
