"""The output of a step: what its code, native libraries and child processes print, masked, for the log and observer."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO

from when_ml_pipeline_meets_hydra.execution.event_thread import is_observing

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.observers import Observer
    from when_ml_pipeline_meets_hydra.execution.step import Task

_PIPE = 0  # the stream of what file descriptors 1 and 2 receive
_PIPE_SIZE = 1_000_000  # bytes, so that a library that prints without letting other threads run does not wait
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_capturing = threading.Lock()  # file descriptors belong to the whole process


class StepOutput:
    """Passes a step's output on to log and observer, in whole lines so that secrets are masked. Thread-safe."""

    def __init__(self, task: Task, observer: Observer) -> None:
        self._task, self._observer = task, observer
        self._rests: dict[int, str] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        self._log: TextIO | None = None
        self._has_ended = self._is_passing_on = False
        self._process = os.getpid()
        self.lock = threading.RLock()
        self.descriptors: _Descriptors | None = None

    def write(self, text: str, stream: int = _PIPE) -> None:
        """Buffer text of a stream (by its file descriptor); complete lines are passed on."""
        with self.lock:
            if self._is_passing_on:  # the observer prints
                self._write_outside(text)
                return
            lines, self._rests[stream] = self._task.redactor.split(self._rests.get(stream, "") + text)
            if lines:
                self._pass_on(lines)

    def write_bytes(self, content: bytes, stream: int = _PIPE) -> None:
        """Decode and buffer what a stream received."""
        if os.getpid() != self._process:  # a forked process, in which no thread holds or releases the locks
            os.write(stream or 1, content)
            return
        with self.lock:
            if self.descriptors and stream:
                self.descriptors.read()  # what was printed before
            if stream not in self._decoders:
                self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
            self.write(self._decoders[stream].decode(content), stream)

    def close(self) -> None:
        """Pass on the rest of the buffers; what comes later, from a thread or a log handler, goes to stderr."""
        with self.lock:
            try:
                for rest in [*filter(None, self._rests.values())]:
                    self._pass_on(f"{rest}\n")
            finally:
                self._rests.clear()
                self._has_ended = True
                if self._log:
                    self._log.close()

    def _pass_on(self, text: str) -> None:
        if self._has_ended:
            with suppress(OSError, ValueError, AttributeError):  # closed, or none
                sys.stderr.write(self._task.shown_redactor.text(text))
            return
        if self._log is None:
            self._task.log.parent.mkdir(parents=True, exist_ok=True)
            self._log = open(  # noqa: SIM115 - closed by close
                self._task.log, "a", encoding="utf-8", errors="backslashreplace", opener=_open_beyond_standard
            )
        self._log.write(self._task.redactor.text(text))
        self._log.flush()
        self._is_passing_on = True
        try:
            self._observer.step_printed(self._task.step, self._task.shown_redactor.text(text))
        finally:
            self._is_passing_on = False

    def _write_outside(self, text: str) -> None:
        if self.descriptors:
            self.descriptors.write_outside(text)

    def write_beside(self, text: str, descriptor: int, before: Any) -> None:
        """Write what an observer prints, from its own thread, to where the standard stream led ``before``."""
        descriptors = self.descriptors
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            if descriptors and before.fileno() == descriptor:
                descriptors.write_outside(text, descriptor)
            else:
                before.write(text)

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Within it, stdout and stderr are this output; file descriptors 1 and 2 as well, but for a worker's."""
        out, err = _Stream(self, 1, sys.stdout), _Stream(self, 2, sys.stderr)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                if self._task.captures and _capturing.acquire(blocking=False):
                    try:
                        with _Descriptors(self):
                            yield
                    finally:
                        _capturing.release()
                else:
                    yield
        finally:
            for stream in (out, err):
                stream.flush()
            self.close()


def _open_beyond_standard(path: str, flags: int) -> int:
    """Open a file, not as file descriptor 0, 1 or 2, which is free where a step has closed it, until it is put back."""
    opened = [os.open(path, flags, 0o666)]
    while opened[-1] <= 2:
        opened.append(os.dup(opened[-1]))
    for descriptor in opened[:-1]:
        os.close(descriptor)
    return opened[-1]


class _Raw(io.RawIOBase):
    """The bytes of a standard stream while a step runs. Its descriptor exists, for child processes."""

    def __init__(self, output: StepOutput, descriptor: int) -> None:
        self._output, self._descriptor = output, descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def write(self, content: Any) -> int:
        self._output.write_bytes(bytes(content), self._descriptor)
        return len(content)


class _Stream(io.TextIOWrapper):
    """A standard stream while a step runs; what an observer prints meanwhile, in its thread, goes ``before``'s way."""

    def __init__(self, output: StepOutput, descriptor: int, before: Any) -> None:
        raw: Any = _Raw(output, descriptor)
        buffered = io.BufferedWriter(raw)
        super().__init__(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._output, self._descriptor, self._before = output, descriptor, before

    def write(self, text: str, /) -> int:
        if not is_observing():
            return super().write(text)
        self._output.write_beside(text, self._descriptor, self._before)
        return len(text)

    def flush(self) -> None:
        if not is_observing():
            super().flush()


class _Descriptors:
    """Context in which file descriptors 1 and 2 lead into a pipe, which a thread reads; nothing if they are closed."""

    def __init__(self, output: StepOutput) -> None:
        self._output = output
        self._before: dict[int, int] = {}
        self._pipe: int | None = None

    def __enter__(self) -> None:
        _flush()
        try:
            self._before = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        except OSError:
            return
        self._pipe, end = os.pipe()
        os.set_blocking(self._pipe, False)
        with suppress(OSError, ImportError):
            import fcntl

            fcntl.fcntl(end, _SET_PIPE_SIZE, _PIPE_SIZE)
        for descriptor in self._before:
            os.dup2(end, descriptor)
        os.close(end)
        self._output.descriptors = self
        threading.Thread(target=self._read_until_closed, name="output", daemon=True).start()

    def __exit__(self, *error: object) -> None:
        if self._pipe is None and not self._before:
            return
        _flush()
        for descriptor, before in self._before.items():
            os.dup2(before, descriptor)
        self.read()
        with self._output.lock:
            self._output.descriptors = None
            for before in self._before.values():
                os.close(before)

    def read(self) -> None:
        """Pass on what the pipe contains now."""
        with self._output.lock:
            if self._pipe is not None:
                with suppress(BlockingIOError):
                    while content := os.read(self._pipe, 65536):
                        self._output.write_bytes(content)
                    os.close(self._pipe)  # nobody writes any more
                    self._pipe = None

    def write_outside(self, text: str, descriptor: int = 1) -> None:
        """Write to what a file descriptor was before."""
        content = text.encode("utf-8", "backslashreplace")
        while content:
            content = content[os.write(self._before[descriptor], content) :]

    def _read_until_closed(self) -> None:
        """Read until all processes that have the pipe are gone, also those that outlive the step."""
        while (pipe := self._pipe) is not None:
            poll = select.poll()
            poll.register(pipe, select.POLLIN)
            poll.poll()
            self.read()


def _flush() -> None:
    """Flush what Python and C libraries have buffered for file descriptors 1 and 2."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    if ctypes := sys.modules.get("ctypes"):  # which every library in C that Python calls has loaded
        with suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).fflush(None)
