"""Fingerprints of files: digests of their contents."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.storage.durable_files import sha256

_CHUNK = 1 << 20  # bytes


def digest(*files: Path) -> str:
    """Return the SHA-256 of the contents of ``files``. Raises ``BadInput`` if one cannot be read."""
    digests = [_digest(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    check_readable(file)
    try:
        return sha256(file)
    except OSError as error:
        raise BadInput(unreadable(file, error)) from None


def has_more_lines(files: Iterable[Path], number: int) -> bool:
    """Return whether files, also compressed ones (``.gz``), have more lines than ``number`` in all."""
    for file in files:
        opened = gzip.open if file.suffix == ".gz" else open
        try:
            with opened(file, "rb") as stream:
                while chunk := stream.read(_CHUNK):
                    number -= chunk.count(b"\n")
                    if number < 0:
                        return True
        except OSError as error:
            raise BadInput(unreadable(file, error)) from None
    return False


def is_there(path: Path) -> bool:
    """Return whether there is a file or folder; no path with a name that is too long is there."""
    try:
        return path.exists()
    except OSError:
        return False


def unreadable(file: Path, error: OSError) -> Problem:
    """Return the problem of a ``file`` that cannot be opened."""
    why = {FileNotFoundError: "there is no such file", IsADirectoryError: "this is a directory, a file is needed"}
    message = why.get(type(error), f"the file cannot be read: {error.strerror}")
    return Problem(key="path", value=str(file), message=message, remedy=_neighbours(file))


def _neighbours(file: Path) -> str | None:
    try:
        if not file.parent.is_dir():
            return f"There is no directory {file.parent} either"
    except OSError:  # its name is too long
        return None
    close = did_you_mean(file.name, (f.name for f in file.parent.iterdir() if f.is_file()))
    return close if close and close.startswith("Did") else None


def check_readable(file: Path) -> None:
    """Raise ``BadInput`` unless ``file`` can be opened: a lazy reader would fail late, with a message of its own."""
    try:
        if file.exists() and not file.is_file() and not file.is_dir():
            message = "this is a pipe or a device; a file is needed, since it is read several times"
            raise BadInput(Problem(key="path", value=str(file), message=message))
        file.open("rb").close()
    except OSError as error:
        raise BadInput(unreadable(file, error)) from None
