"""Crash-safe files: written under a temporary name, synced and renamed; or appended line by line."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 4096  # bytes that are read at once, from the end of a file


def sync(path: Path) -> None:
    """Flush the content of a file, or the entries of a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """Replace the file by ``content`` atomically: readers see either the old file or the new one."""
    write_parts(path, (content,))


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Replace the file by the concatenated ``parts``, as ``write`` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append a line, or several, after removing the incomplete line of a killed writer. The caller holds a lock."""
    with path.open("a+b") as file:
        file.truncate(_end_of_lines(file))
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _end_of_lines(file: BinaryIO) -> int:
    """Return where the last complete line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        if (place := file.read(end - start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


def read_lines(path: Path) -> list[bytes]:
    """The complete lines of an append-only file; none if there is no file."""
    return [line[:-1] for line in _lines(path)]


def _lines(path: Path) -> Iterable[bytes]:
    content = path.read_bytes() if path.exists() else b""
    return (line for line in content.splitlines(keepends=True) if line.endswith(b"\n"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: str) -> tuple[int, int] | None:
    """Modification time (ns) and inode, which change when a file is replaced; None if there is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116 (Path.stat costs twice as much)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def states(folder: str, place: str = "") -> Iterator[tuple[str | int, ...]]:
    """Yield name, size, times (ns) and inode of each file below a folder, which change when the file does."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from states(entry.path, f"{place}{entry.name}/")
        else:
            at = entry.stat()
            yield f"{place}{entry.name}", at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino


def is_running(process: int) -> bool:
    """Whether a process with this id runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True


def check_space(folder: Path, size: int) -> None:
    """Raise the ``OSError`` of a full disk if ``folder``, which may be missing, has no room for ``size`` bytes."""
    if shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
