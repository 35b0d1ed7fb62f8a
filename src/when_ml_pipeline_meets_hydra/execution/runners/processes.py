"""Worker processes: each computes one step after the other and keeps what it has imported.

A worker is a fresh interpreter (no fork, so no locks of libraries' threads come along) that never imports the main
module of its parent. It talks through a pipe, so nothing stands in the process list. It leads a session of its own;
when its parent dies, even by SIGKILL, the kernel kills its process group, and so all that its steps have started.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.execution.step import Busy, Printing, Task, failure, interrupted, unfinished, written
from when_ml_pipeline_meets_hydra.storage.locks import Held

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
_TO_STOP = 0.5  # s that a worker may take to end by itself


def threads_of_each(n_jobs: int) -> dict[str, str]:
    """Environment variables that share the cores out among ``n_jobs`` processes, without those that are set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {name: str(max(1, cores // n_jobs)) for name in _THREADS if name not in os.environ}


class Workers:
    """Computes up to ``n_jobs`` steps at a time, each in a process of its own, which is started when it is needed."""

    def __init__(self, n_jobs: int) -> None:
        self._n_jobs = n_jobs
        self._idle: list[_Worker] = []
        self._running: list[_Worker] = []
        self._ended: list[Outcome] = []

    @property
    def has_room(self) -> bool:
        """Whether a worker is free, or may be started."""
        return len(self._running) < self._n_jobs

    @property
    def is_running(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self._running or self._ended)

    def start(self, task: Task) -> None:
        """Give a task to a free worker, rather to the one that was busy last."""
        try:
            content = _pickled(task)
        except Exception as error:  # whatever somebody's class may raise when it is pickled
            text = f"it cannot be sent to a worker process ({type(error).__name__}: {error}). {IMPORTABLE}"
            self._ended.append(failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, time.perf_counter()))
            return
        while self._idle:
            worker = self._idle.pop()
            if worker.give(task, content):
                break
            worker.end()  # it died of something between two steps
        else:
            worker = _Worker(threads_of_each(self._n_jobs))
            worker.give(task, content)
        self._running.append(worker)

    def wait(self, observer: Observer) -> Sequence[Outcome | Busy]:
        """Pass on what the steps tell until at least one has ended."""
        ended: list[Outcome | Busy] = [*self._ended]
        self._ended = []
        while self._running and not ended:
            printing = [w for w in (*self._running, *self._idle) if w.may_print]
            heard = wait_for_any([*(w.pipe for w in self._running), *(w.output for w in printing)], timeout=0.2)
            for worker in printing:
                if worker.output in heard:
                    worker.read_output(observer)
            for worker in list(self._running):
                if (found := worker.hear(observer, may_read=worker.pipe in heard)) is not None:
                    ended.append(found)
                    self._running.remove(worker)
                    if worker.is_alive:
                        self._idle.append(worker)
                    else:
                        worker.end()
        return ended

    def interrupt(self) -> Sequence[Outcome]:
        """Interrupt the steps as Ctrl-C does, and kill what does not end by itself."""
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
    """Give workers a moment to end, and kill what is left of them and of what they have started."""
    until = time.monotonic() + _TO_STOP
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
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._started = 0.0
        self._task: Task | None = None
        self._printing: Printing | None = None
        self.pipe.send((sys.argv, [place or str(Path.cwd()) for place in sys.path]))

    def give(self, task: Task, content: bytes) -> bool:
        """Give it a task; False where it is dead."""
        self._started, self._task = time.perf_counter(), task
        try:
            self.pipe.send_bytes(content)
        except OSError:
            return False
        return True

    def hear(self, observer: Observer, *, may_read: bool) -> Outcome | Busy | None:
        """Take one message; returns how the step ended, once it has."""
        task = self._task
        assert task is not None
        try:
            if not may_read:
                is_over = self.process.poll() is not None and not self.pipe.poll()
                return self._died(observer) if is_over else None
            kind, *content = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._died(observer)
        if kind in ("step_progress", "step_printed"):
            getattr(observer, kind)(task.step, *content)
            return None
        self.read_output(observer)
        self._end_output()
        if kind == "busy":
            return Busy(task=task, holder=content[0])
        if kind == "unreadable":
            text = f"it cannot be read in a worker process ({content[0]}). {IMPORTABLE}"
            return failure(task, text, Status.FAILED, ExitCode.STEP_FAILED, self._started)
        return Outcome(step=task.step, **{**content[0], "log": written(task.log)})

    def read_output(self, observer: Observer) -> None:
        """Take what did not come from Python: libraries and programs that print by themselves."""
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self.output, 65536):
                if self._task:
                    self._printing = self._printing or Printing(self._task, observer)
                    self._printing.write(self._decode(content))
            self.may_print = False

    def was_interrupted(self) -> Outcome:
        """The outcome of its step, which was not let to its end."""
        assert self._task is not None
        if self.process.returncode == ExitCode.INTERRUPTED:  # then it has said so in the log
            return unfinished(self._task, "interrupted", Status.INTERRUPTED, ExitCode.INTERRUPTED, self._started)
        return interrupted(self._task, self._started)

    def signal(self, number: int) -> None:
        """Send a signal to the worker and to all that its steps have started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Make sure that nothing is left of it: processes, pipes, unfinished results."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._end_output()
        self.pipe.close()
        os.close(self._lifeline)
        os.close(self.output)
        if self._task:
            store, key = self._task.store, self._task.step.key
            with contextlib.suppress(Held, OSError), store.lock(key, self._task.run_id):
                store.remove_unfinished(key)

    def _end_output(self) -> None:
        if self._printing:
            self._printing.close()
            self._printing = None

    def _died(self, observer: Observer) -> Outcome:
        self.is_alive = False
        assert self._task is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_TO_STOP)  # its pipe may close a little earlier than it ends
        self.signal(signal.SIGKILL)
        status = self.process.wait()
        self.read_output(observer)
        self._end_output()
        return failure(self._task, _how_it_ended(status), Status.FAILED, ExitCode.STEP_FAILED, self._started)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"its process ended with exit status {status}"
    reason = "; out of memory?" if -status == signal.SIGKILL else ""
    return f"its process was killed by {signal.Signals(-status).name} (signal {-status}){reason}"


def _pickled(task: Task) -> bytes:
    """A task without what only planning needs."""
    function = task.step.call.function
    if function.__module__ == "__main__":
        raise pickle.PicklingError(f"{function.__qualname__} is defined in the main module")
    return pickle.dumps(replace(task, step=replace(task.step, call=replace(task.step.call, needs={}))))
