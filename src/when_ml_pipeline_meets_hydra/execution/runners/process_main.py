"""What runs in a worker process: tasks come through a pipe, what happens and the outcomes go back."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import pickle
import signal
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any

from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.step import Busy, Task, compute, failure
from when_ml_pipeline_meets_hydra.planning.plan import Step


def serve(pipe: Connection, lifeline: int) -> int:
    """Compute one task after the other until the parent closes the pipe; returns the exit status."""
    _die_with_parent(lifeline)
    os.set_inheritable(pipe.fileno(), False)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tells = _Tells(pipe)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while content := pipe.recv_bytes():
            if _answer(content, tells) is Status.INTERRUPTED:
                return int(ExitCode.INTERRUPTED)
    return 0


class _Tells(Observer):
    """Tells the parent what happens; progress not more often than somebody can see."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock, self._last = pipe, threading.Lock(), 0.0

    def send(self, *message: Any) -> None:
        """Send a message; steps may print from several threads."""
        content = pickle.dumps(message)
        with self._lock:
            self._pipe.send_bytes(content)

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """How far it is."""
        now = time.monotonic()
        if now - self._last > 0.05 or done == total:
            self._last = now
            self.send("step_progress", done, total, message)

    def step_printed(self, step: Step, text: str) -> None:
        """What it prints."""
        self.send("step_printed", text)


def _answer(content: bytes, tells: _Tells) -> Status | None:
    """Compute a task; returns what became of it, if anything."""
    try:
        task: Task = pickle.loads(content)
    except Exception as error:  # whatever importing somebody's module may raise
        traceback.print_exc()
        tells.send("unreadable", f"{type(error).__name__}: {error}")
        return None
    found = compute(task, tells)
    if isinstance(found, Busy):
        tells.send("busy", found.holder)
        return None
    try:
        tells.send("ended", _without_step(found))
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # of an effect; others have been stored
        text = f"what it returned cannot be sent back from its process ({error})"
        found = failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, time.perf_counter())
        tells.send("ended", _without_step(found))
    return found.status


def _without_step(outcome: Outcome) -> dict[str, Any]:
    """An outcome without what the parent has."""
    return {f.name: getattr(outcome, f.name) for f in fields(outcome) if f.name != "step"}


def _die_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process group when the other end of the pipe is closed, even if Python is stuck."""
    os.set_inheritable(lifeline, False)
    if hasattr(fcntl, "F_SETSIG"):  # Linux
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for_the_end, args=[lifeline], name="lifeline", daemon=True).start()


def _wait_for_the_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)
