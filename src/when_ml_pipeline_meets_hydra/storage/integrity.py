"""Finds out whether a stored result is still what was stored.

``artifact.json`` has the size and the digest of each file and of ``inputs.json``, and ends with the digest of its own
bytes. The log is exempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from when_ml_pipeline_meets_hydra.storage import durable_files, seals
from when_ml_pipeline_meets_hydra.storage.canonical_json import digest

ARTIFACT, INPUTS, FILES, LOG = "artifact.json", "inputs.json", "files", "log.txt"
CHANGED = "changed since it was stored"

# Folders whose files were read and found whole in this process: the digest of the manifest, and the state of the files.
_FOUND_WHOLE: dict[str, tuple[str, object]] = {}


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return a manifest as JSON that ends with the digest of its own bytes."""
    return seals.sealed(to_json(content, indent=2))


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a stored result; None if it is missing, or if any of its bytes has changed."""
    return seals.opened(_read(folder / ARTIFACT))


def read_inputs(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the inputs of a stored result; None if they are missing, or if any of their bytes has changed."""
    text = _read(folder / INPUTS)
    return seals.parsed(text) if sha256_of(text) == manifest.get("inputs") else None


def defects(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each defect of a stored result: the name of a file below ``folder``, and what is wrong with it.

    Reads every file.
    """
    if (manifest := read_manifest(folder)) is None:
        yield ARTIFACT, "missing or damaged"
        return
    if (inputs := read_inputs(folder, manifest)) is None:
        yield INPUTS, f"missing, or {CHANGED}"
    elif digest(inputs) != folder.name:
        yield INPUTS, "the key is not its digest"
    yield from _wrong_files(folder, manifest["files"])


def first_defect(folder: Path) -> str | None:
    """Return the first defect of a stored result; None if there is none.

    Files that this process has read and found whole are read again only if their size, times or inode have changed.
    """
    state = _state(folder)
    if state is not None and _FOUND_WHOLE.get(str(folder)) == state:
        return None
    for name, wrong in defects(folder):
        return f"{name}: {wrong}"
    if state is not None:
        _FOUND_WHOLE[str(folder)] = state
    return None


def found_whole(folder: Path) -> None:
    """Remember that the files of a result are whole, since this process has just written them."""
    if (state := _state(folder)) is not None:
        _FOUND_WHOLE[str(folder)] = state


def sha256_of(text: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(text).hexdigest()


def _state(folder: Path) -> tuple[str, object] | None:
    """Return what tells whether a result has to be read again: the JSON files, and the states of the others."""
    try:
        texts = b"\0".join((folder / name).read_bytes() for name in (ARTIFACT, INPUTS))
        return sha256_of(texts), tuple(durable_files.states(str(folder / FILES)))
    except OSError:
        return None


def _wrong_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, expected in files.items():
        file = folder / FILES / name
        if not file.is_file():
            yield f"{FILES}/{name}", "missing"
        elif file.stat().st_size != expected["size"] or durable_files.sha256(file) != expected["sha256"]:
            yield f"{FILES}/{name}", CHANGED
    for file in sorted((folder / FILES).rglob("*")):
        if file.is_file() and file.relative_to(folder / FILES).as_posix() not in files:
            yield file.relative_to(folder).as_posix(), "was not there when the result was stored"


def _read(file: Path) -> bytes:
    """Return the content of a file; nothing if there is no such file."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""
