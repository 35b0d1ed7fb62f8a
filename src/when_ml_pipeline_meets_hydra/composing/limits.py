"""Limits of option files, so that a malicious or broken one ends in a message within seconds."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 1_000_000  # of an option file
MOST_VALUES = 30_000  # in an option file, with those that its aliases repeat
MOST_FILES = 2_000  # that the defaults lists of one composition read
_SMALL = 16_000  # bytes; so little text has few values, unless it has aliases


def check_file(file: Path) -> None:
    """Raise ``ValueError`` if an option file is not a regular file, too large, or has too many values."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is not a regular file")
    if state.st_size > MOST_BYTES:
        raise ValueError(f"it has {state.st_size} bytes, and an option file at most {MOST_BYTES}")
    check_text(file.read_bytes())


def check_text(text: bytes | str) -> None:
    """Raise ``ValueError`` if a YAML text has too many values, each alias counted with all that it repeats.

    The text is only scanned. A text that is no YAML passes: it is reported by the parser.
    """
    anchor: Any = b"&" if isinstance(text, bytes) else "&"
    if len(text) < _SMALL and anchor not in text:
        return
    import yaml

    try:
        for count in _counts(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            if count > MOST_VALUES:
                raise ValueError(f"it has more than {MOST_VALUES} values")
    except yaml.YAMLError:
        return


def _counts(events: Any) -> Iterator[int]:
    """Yield the number of values so far, after each event."""
    total = 0
    sizes: dict[str, int | None] = {}  # of the anchors; None: it has not ended
    open_nodes: list[tuple[str | None, int]] = []
    for event in events:
        kind, anchor = type(event).__name__, getattr(event, "anchor", None)
        if kind == "AliasEvent":
            if (size := sizes.get(anchor or "", 0)) is None:
                raise ValueError(f"its alias *{anchor} is inside of what it repeats")
            total += size
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            open_nodes.append((anchor, total))
            total += 1
            sizes |= {anchor: None} if anchor else {}
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, before = open_nodes.pop()
            sizes |= {anchor: total - before} if anchor else {}
        elif kind == "ScalarEvent":
            total += 1
            sizes |= {anchor: 1} if anchor else {}
        yield total
