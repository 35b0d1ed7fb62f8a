"""JSON files that end with the digest of their own bytes, so that a changed byte is noticed."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.storage import durable_files

KEY = "sha256"
_NO_DIGEST = b"0" * 64
_END = len('"\n}')  # what follows the digest
_LIKE_A_SEAL = re.compile(rb'"[^"]*": "[^"]{64}"\s*\}\s*$')


def sealed(text: bytes) -> bytes:
    """Return a JSON object, indented by two blanks, with the digest of its own bytes as its last value.

    (In the bytes of which it is the digest, it is all zeros.)
    """
    zeroed = text[:-2] + b',\n  "%s": "%s"\n}' % (KEY.encode(), _NO_DIGEST)
    return _with_digest(zeroed, hashlib.sha256(zeroed).hexdigest().encode())


def opened(text: bytes) -> dict[str, Any] | None:
    """Return a sealed JSON object; None if it is none, or if any of its bytes has changed."""
    content = parsed(text)
    if content is None or not isinstance(seal := content.get(KEY), str):
        return None
    zeroed = _with_digest(text, _NO_DIGEST)
    is_whole = text == _with_digest(text, seal.encode()) and hashlib.sha256(zeroed).hexdigest() == seal
    return content if is_whole else None


def opened_or_old(text: bytes) -> dict[str, Any] | None:
    """Return a JSON object without its seal, if it has one; None as ``opened`` does. Old files have none."""
    if not (_LIKE_A_SEAL.search(text) or b'"%s": ' % KEY.encode() in text):
        return parsed(text)
    content = opened(text)
    return content and {name: value for name, value in content.items() if name != KEY}


def parsed(text: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None if the text is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def is_as_written(file: Path, digest: str | None) -> bool:
    """Whether a file has this digest (None: it is not known); read once per process, unless the file changes."""
    if digest is None:
        return True
    at = file.stat()
    return _digest(str(file), at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino) == digest


@lru_cache(maxsize=1024)
def _digest(file: str, *_: int) -> str:
    return durable_files.sha256(Path(file))


def _with_digest(text: bytes, digest: bytes) -> bytes:
    return text[: -_END - len(_NO_DIGEST)] + digest + text[-_END:]
