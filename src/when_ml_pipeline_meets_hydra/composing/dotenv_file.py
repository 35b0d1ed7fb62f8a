"""The file ``.env`` of the working folder, or of the project: variables that the environment lacks.

They are for ``${oc.env:…}`` and passwords.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from functools import lru_cache

from when_ml_pipeline_meets_hydra.composing.environment import PROJECT
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

FILE = ".env"
MOST_BYTES = 1_000_000
# What decides which code runs, and where results are, comes from the real environment alone.
_NEVER = re.compile(r"WMH_(PACKAGES|HOME|CONFIG_STORE|PROJECT)|PATH|PYTHON\w*|LD_\w*|DYLD_\w*")

_used: dict[str, None] = {}


def variable(name: str) -> str | None:
    """Return an environment variable, or, if it is not set, that of the file; None if neither has it.

    Raises ``BadInput`` if the file cannot be read.
    """
    value = os.environ.get(name)
    if value is None and (value := _content().get(name)) is not None:
        _used[name] = None
    return value


def used() -> list[str]:
    """Return the variables that came from the file since the last call."""
    names = [name for name in _used if name not in os.environ and name in _content()]
    _used.clear()
    return names


def _content() -> Mapping[str, str]:
    for folder in (os.getcwd(), os.environ.get(PROJECT)):  # noqa: PTH109 - for each variable, as fast as possible
        if folder is None:
            continue
        try:
            found = os.stat(f"{folder}/{FILE}")  # noqa: PTH116
        except OSError:
            continue
        return _read(folder, found.st_ino, found.st_mtime_ns, found.st_size, stat.S_ISREG(found.st_mode))
    return {}


@lru_cache(maxsize=8)
def _read(folder: str, inode: int, changed: int, size: int, is_file: bool) -> Mapping[str, str]:
    """Read the file in ``folder``; the other arguments are its state."""
    if not is_file or size > MOST_BYTES:
        return {}
    from dotenv.parser import parse_stream

    try:
        with open(f"{folder}/{FILE}", encoding="utf-8-sig") as stream:  # noqa: PTH123
            lines = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(Problem(key=FILE, message=f"cannot be read ({error})")) from error
    if wrong := [line.original.line for line in lines if line.error]:
        message = f"line {wrong[0]} cannot be read: expected NAME=value"
        raise BadInput(Problem(key=FILE, message=message, remedy="Values with spaces or # need quotes"))
    return {line.key: line.value or "" for line in lines if line.key and not _NEVER.fullmatch(line.key)}
