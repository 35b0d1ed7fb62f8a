"""Files that survive a crash: written under another name, synced, renamed; or appended line by line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def sync(path: Path) -> None:
    """Return when the content of a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """Replace the file by ``content``; whoever reads sees the old one or the new one, whole."""
    write_parts(path, (content,))


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Replace the file by ``parts``, one after the other, as ``write`` does."""
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
    """Append one line, after cutting off what a killed writer left of its own. Needs a lock around it."""
    end = sum(map(len, _lines(path)))
    with path.open("ab") as file:
        file.truncate(end)
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[bytes]:
    """The complete lines of a file that is only ever appended to; none where there is no file."""
    return [line[:-1] for line in _lines(path)]


def _lines(path: Path) -> Iterable[bytes]:
    content = path.read_bytes() if path.exists() else b""
    return (line for line in content.splitlines(keepends=True) if line.endswith(b"\n"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: str) -> tuple[int, int] | None:
    """Changes whenever a file is replaced; None where there is none. Costs one call of ``stat``."""
    try:
        found = os.stat(path)  # noqa: PTH116 (Path.stat costs twice as much)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def is_running(process: int) -> bool:
    """Whether the process of this machine that left something behind still runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
