"""A terminal for tests: the program runs in a pty, and what a person would see can be read."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

from conftest import PROGRAM


class Terminal:
    """A program in a terminal of its own; its stdout leads to a file where one is given."""

    def __init__(
        self,
        *words: str,
        columns: int = 100,
        lines: int = 200,
        stdout: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.raw = b""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._process, self._ours = pty.fork()
        if self._process == 0:
            if stdout:
                os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT), 1)
            for name in ("COLUMNS", "NO_COLOR"):
                os.environ.pop(name, None)
            os.execve(PROGRAM, [str(PROGRAM), *words], {**os.environ, "TERM": "xterm-256color", **(environment or {})})
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read_until(self, done: Callable[[Terminal], bool], seconds: float = 120) -> None:
        """Read what the program writes until ``done`` says that it is enough."""
        end = time.monotonic() + seconds
        while not done(self):
            assert time.monotonic() < end, self.text
            assert self._read(), f"it has ended before that\n{self.text}"

    def finish(self) -> int:
        """Read all the rest; returns the exit code."""
        while self._read():
            pass
        _, status = os.waitpid(self._process, 0)
        os.close(self._ours)
        return os.waitstatus_to_exitcode(status)

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._ours, keys)

    def kill(self) -> None:
        """End the program where a test has failed."""
        os.kill(self._process, signal.SIGKILL)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without the empty ones at its end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().splitlines()

    @property
    def text(self) -> str:
        """The screen as text."""
        return "\n".join(self.lines)

    def _read(self) -> bool:
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # how Linux says that the other side has gone
            return False
        self.raw += found
        self._stream.feed(found)
        return bool(found)
