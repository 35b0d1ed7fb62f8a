"""One process at a time, across processes and hosts that share a file system.

The lock is the operating system's (``flock``), so that of a process that died is free at once. Its file holds the name
of who holds it; it is never removed, since another process may just be opening it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockHeld(Exception):
    """The lock is held by another process; ``holder`` is its name, empty if not written yet."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def hold(file: Path, holder: str = "", *, patience: float = 0) -> Iterator[None]:
    """Hold a lock under the name ``holder``. Raises ``LockHeld`` if it is not free within ``patience`` seconds."""
    until = time.monotonic() + patience
    handle = _open(file)
    try:
        while not _try(handle):
            if time.monotonic() >= until:
                raise LockHeld(os.pread(handle, 1000, 0).decode(errors="replace"))
            time.sleep(0.05)
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        _HELD.discard(handle)
        os.close(handle)


_HELD: set[int] = set()


def _let_go() -> None:
    for handle in _HELD:
        os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)  # a child must not hold on to the lock when its parent is gone


def _open(file: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        handle = os.open(file, flags, 0o666)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, flags, 0o666)
    _HELD.add(handle)
    return handle


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
