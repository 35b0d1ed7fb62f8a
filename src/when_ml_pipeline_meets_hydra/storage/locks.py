"""Locks across processes and hosts that share a file system.

The lock is the operating system's (``flock``), so it is released at once when its process dies. The lock file contains
the name of the holder; it is never removed, since another process may be opening it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockHeld(Exception):
    """Another process holds the lock; ``holder`` is its name, empty if it has not written it yet."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def hold(file: Path, holder: str = "", *, patience: float = 0, shared: bool = False) -> Iterator[None]:
    """Hold a lock under the name ``holder``. Raises ``LockHeld`` if it is not free within ``patience`` seconds.

    Several processes may hold it together if all of them say ``shared``; such holders have no name.
    """
    until = time.monotonic() + patience
    handle = _open(file)
    try:
        while not _try(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise LockHeld(os.pread(handle, 1000, 0).decode(errors="replace"))
            time.sleep(0.05)
        if shared:
            yield
            return
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        _HANDLES.discard(handle)
        os.close(handle)


_HANDLES: set[int] = set()


def _release_all() -> None:
    for handle in _HANDLES:
        os.close(handle)
    _HANDLES.clear()


os.register_at_fork(after_in_child=_release_all)  # a child must not keep the lock after its parent ended


def _open(file: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        handle = os.open(file, flags, 0o666)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, flags, 0o666)
    _HANDLES.add(handle)
    return handle


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
