"""Main loop of a worker process: receives tasks and answers through a pipe, sends events and outcomes back."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from multiprocessing.connection import Connection
from typing import Any

from when_ml_pipeline_meets_hydra.errors import ExitCode, StepFailed
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.step import Locked, compute, log_failure
from when_ml_pipeline_meets_hydra.planning.plan import Step

_PAUSE = 0.05  # s between two events of a kind


def serve(pipe: Connection, lifeline: int) -> int:
    """Compute tasks until the parent closes the pipe; returns the exit status."""
    _die_with_parent(lifeline)
    os.set_inheritable(pipe.fileno(), False)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    events = _EventSender(pipe)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while content := pipe.recv_bytes():
            if _compute_and_send(content, events) is Status.INTERRUPTED:
                return int(ExitCode.INTERRUPTED)
    return 0


class _EventSender(Observer):
    """Sends events to the parent; progress and partial scores at most 20 times a second each."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock, self._asking = pipe, threading.Lock(), threading.Lock()
        self._last = self._last_scores = 0.0

    def send(self, *message: Any) -> None:
        content = pickle.dumps(message)
        with self._lock:  # steps may print from several threads
            self._pipe.send_bytes(content)

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        now = time.monotonic()
        if now - self._last > _PAUSE or done == total:
            self._last = now
            self.send("step_progress", done, total, message)

    def step_reported(self, step: Step, number: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self._last_scores > _PAUSE:
            self._last_scores = now
            self.send("step_reported", number, metrics)

    def answer(self, number: int, metrics: Mapping[str, float]) -> str | None:
        """Ask the parent whether the step has to stop, and wait for the reason."""
        with self._asking:  # steps may report from several threads
            self.send("answer", number, metrics)
            reason, error = self._pipe.recv()
        if error:
            raise StepFailed(error)
        assert reason is None or isinstance(reason, str)
        return reason

    def step_printed(self, step: Step, text: str) -> None:
        self.send("step_printed", text)


def _compute_and_send(content: bytes, events: _EventSender) -> Status | None:
    """Compute a task and send its outcome; returns its status, None if it was not computed."""
    try:
        task, is_answered = pickle.loads(content)
    except Exception as error:  # importing user code may raise anything
        traceback.print_exc()
        events.send("unreadable", f"{type(error).__name__}: {error}")
        return None
    found = compute(replace(task, answer=events.answer) if is_answered else task, events)
    if isinstance(found, Locked):
        events.send("locked", found.holder)
        return None
    try:
        events.send("ended", _without_step(found))
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # only of effects; other results are stored
        text = f"what it returned cannot be sent back from its process ({error})"
        found = log_failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, time.perf_counter())
        events.send("ended", _without_step(found))
    return found.status


def _without_step(outcome: Outcome) -> dict[str, Any]:
    """Return the fields of an outcome without the step, which the parent has."""
    return {f.name: getattr(outcome, f.name) for f in fields(outcome) if f.name != "step"}


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process group when the parent's end of the pipe closes, even if Python hangs."""
    os.set_inheritable(lifeline, False)
    if hasattr(fcntl, "F_SETSIG"):  # Linux
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for_the_end, args=[lifeline], name="lifeline", daemon=True).start()


def _wait_for_the_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)
