"""Worker processes, which compute one step after another and keep their imports.

A worker is a fresh interpreter (no fork, so no locks of library threads are inherited) that never imports the main
module of its parent. Tasks are sent through a pipe, so that they do not appear in the process list. It leads a session
of its own; when the parent dies, even by SIGKILL, the kernel kills the process group, with all that steps have started.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import ExitCode, StepFailed
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.output import StepOutput
from when_ml_pipeline_meets_hydra.execution.step import Locked, Task, failed, log_failure, log_interruption
from when_ml_pipeline_meets_hydra.storage.locks import LockHeld

_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "LOKY_MAX_CPU_COUNT"),
)
_CODE = """
import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
lifeline = int(sys.argv[2])
sys.argv, sys.path = pipe.recv()
from when_ml_pipeline_meets_hydra.execution.runners.process_main import serve
sys.exit(serve(pipe, lifeline))
"""
_STOP_TIMEOUT = 0.5  # s for a worker to exit by itself


def thread_limits(n_jobs: int) -> dict[str, str]:
    """Return environment variables that divide the cores among ``n_jobs`` processes, without those already set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {name: str(max(1, cores // n_jobs)) for name in _THREADS if name not in os.environ}


class Workers:
    """Computes up to ``n_jobs`` steps in parallel in worker processes, which are started on demand."""

    def __init__(self, n_jobs: int) -> None:
        self._n_jobs = n_jobs
        self._idle: list[_Worker] = []
        self._running: list[_Worker] = []
        self._ended: list[Outcome] = []

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle or can be started."""
        return len(self._running) < self._n_jobs

    @property
    def is_running(self) -> bool:
        """Whether steps are running, or have ended and not been returned."""
        return bool(self._running or self._ended)

    def start(self, task: Task) -> None:
        """Send a task to an idle worker, preferably the most recently used one."""
        try:
            content = _pickled(task)
        except Exception as error:  # pickling user classes may raise anything
            text = f"it cannot be sent to a worker process ({type(error).__name__}: {error}). {IMPORTABLE}"
            self._ended.append(log_failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, time.perf_counter()))
            return
        while self._idle:
            worker = self._idle.pop()
            if worker.send(task, content):
                break
            worker.end()  # it died between two steps
        else:
            worker = _Worker(thread_limits(self._n_jobs))
            worker.send(task, content)
        self._running.append(worker)

    def wait(self, observer: Observer) -> Sequence[Outcome | Locked]:
        """Pass events on until at least one step has ended."""
        ended: list[Outcome | Locked] = [*self._ended]
        self._ended = []
        while self._running and not ended:
            printing = [w for w in (*self._running, *self._idle) if w.may_print]
            readable = wait_for_any([*(w.pipe for w in self._running), *(w.output for w in printing)], timeout=0.2)
            for worker in printing:
                if worker.output in readable:
                    worker.read_output(observer)
            for worker in list(self._running):
                if (found := worker.receive(observer, may_read=worker.pipe in readable)) is not None:
                    ended.append(found)
                    self._running.remove(worker)
                    if worker.is_alive:
                        self._idle.append(worker)
                    else:
                        worker.end()
        return ended

    def interrupt(self) -> Sequence[Outcome]:
        """Send SIGINT to the steps, and kill those that do not end."""
        running, self._running = self._running, []
        for worker in running:
            worker.signal(signal.SIGINT)
        _end(running)
        ended, self._ended = self._ended, []
        return [*ended, *(worker.was_interrupted() for worker in running)]

    def close(self) -> None:
        """End all workers."""
        for worker in self._running:
            worker.signal(signal.SIGKILL)
        for worker in self._idle:
            worker.pipe.close()
        _end([*self._running, *self._idle])
        self._running, self._idle, self._ended = [], [], []


IMPORTABLE = "Functions and classes have to stand at the top level of a module that can be imported"


def _end(workers: Iterable[_Worker]) -> None:
    """Wait for workers to exit, then kill them and all processes that they have started."""
    until = time.monotonic() + _STOP_TIMEOUT
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=max(0.0, until - time.monotonic()))
    for worker in workers:
        worker.end()


class _Worker:
    """The parent's end of a worker process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.pipe, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        self.output, printed = os.pipe()
        os.set_blocking(self.output, False)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(theirs.fileno()), str(lifeline)],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(theirs.fileno(), lifeline),
            env={**os.environ, **environment},
            start_new_session=True,
        )
        theirs.close()
        os.close(lifeline)
        os.close(printed)
        self.is_alive = self.may_print = True
        self._started = 0.0
        self._task: Task | None = None
        self._printing: StepOutput | None = None
        self.pipe.send((sys.argv, [place or str(Path.cwd()) for place in sys.path]))

    def send(self, task: Task, content: bytes) -> bool:
        self._started, self._task = time.perf_counter(), task
        try:
            self.pipe.send_bytes(content)
        except OSError:
            return False
        return True

    def receive(self, observer: Observer, *, may_read: bool) -> Outcome | Locked | None:
        """Receive one message; returns the result of the step once it has ended."""
        task = self._task
        assert task is not None
        try:
            if not may_read:
                is_over = self.process.poll() is not None and not self.pipe.poll()
                return self._died(observer) if is_over else None
            kind, *content = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._died(observer)
        if kind == "answer":
            self.pipe.send(_answer(task, *content))
            return None
        if kind in ("step_progress", "step_reported", "step_printed"):
            getattr(observer, kind)(task.step, *content)
            return None
        self.read_output(observer)
        self._end_output()
        if kind == "locked":
            return Locked(task=task, holder=content[0])
        if kind == "unreadable":
            text = f"it cannot be read in a worker process ({content[0]}). {IMPORTABLE}"
            return log_failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, self._started)
        return Outcome(step=task.step, **{**content[0], "log": task.written_log})

    def read_output(self, observer: Observer) -> None:
        """Read the output of native libraries and child processes, which does not pass through ``sys.stdout``."""
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self.output, 65536):
                if self._task:
                    self._printing = self._printing or StepOutput(self._task, observer)
                    self._printing.write_bytes(content)
            self.may_print = False

    def was_interrupted(self) -> Outcome:
        """Return the outcome of its interrupted step."""
        assert self._task is not None
        if self.process.returncode == ExitCode.INTERRUPTED:  # then it has logged it
            return failed(self._task, "interrupted", Status.INTERRUPTED, ExitCode.INTERRUPTED, self._started)
        return log_interruption(self._task, self._started)

    def signal(self, number: int) -> None:
        """Send a signal to the worker and all processes that its steps have started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Kill it, close its pipes and remove its unfinished results."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._end_output()
        self.pipe.close()
        os.close(self._lifeline)
        os.close(self.output)
        if self._task:
            store, key = self._task.store, self._task.step.key
            with contextlib.suppress(LockHeld, OSError), store.lock(key, self._task.run_id):
                store.remove_unfinished(key)

    def _end_output(self) -> None:
        if self._printing:
            self._printing.close()
            self._printing = None

    def _died(self, observer: Observer) -> Outcome:
        self.is_alive = False
        assert self._task is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_STOP_TIMEOUT)  # its pipe may close a little before it exits
        self.signal(signal.SIGKILL)
        status = self.process.wait()
        self.read_output(observer)
        self._end_output()
        return log_failure(self._task, _exit_message(status), Status.FAILED, ExitCode.STEP_FAILED, self._started)


def _answer(task: Task, number: int, metrics: Mapping[str, float]) -> tuple[str | None, str | None]:
    """Return why a step has to stop after a report, and what went wrong with the decision."""
    assert task.answer is not None
    try:
        return task.answer(number, metrics), None
    except StepFailed as error:
        return None, str(error)


def _exit_message(status: int) -> str:
    if status >= 0:
        return f"its process ended with exit status {status}"
    reason = "; out of memory?" if -status == signal.SIGKILL else ""
    return f"its process was killed by {signal.Signals(-status).name} (signal {-status}){reason}"


def _pickled(task: Task) -> bytes:
    """Pickle a task without the parts that only planning needs, and whether its partial scores are answered."""
    function = task.step.call.function
    if function.__module__ == "__main__":
        raise pickle.PicklingError(f"{function.__qualname__} is defined in the main module")
    step = replace(task.step, call=replace(task.step.call, needs={}))
    return pickle.dumps((replace(task, step=step, captures=False, answer=None), task.answer is not None))
