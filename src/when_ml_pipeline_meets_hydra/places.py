"""Paths as users write them: ``~`` is the home folder, and a scheme such as ``s3://`` is no path."""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


def local_path(text: str) -> Path:
    """Return the path of a file or folder of this machine. Raises ``ValueError`` for anything else."""
    if not text or "\0" in text:
        raise ValueError("expected a path, not empty")
    if scheme := _SCHEME.match(text):
        raise ValueError(f"{scheme[1]}:// is not supported here: expected the path of a file or folder of this machine")
    return Path(text).expanduser() if text.startswith("~") else Path(text)
