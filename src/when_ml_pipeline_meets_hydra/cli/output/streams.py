"""Text streams that survive a closed pipe."""

from __future__ import annotations

import codecs
import io
import os
from typing import TextIO


def discard_output(*descriptors: int) -> None:
    """Redirect file descriptors to /dev/null, so that later writes and Python's flush at exit do not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def has_unicode(stream: TextIO) -> bool:
    """Return whether a stream can show any character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf")


_SPELT = {"≤": "<=", "≥": ">=", "→": "->", "…": "...", "×": "x", "├": "|", "│": "|", "└": "`", "─": "-"}


def replace_what_cannot_be_shown(*streams: TextIO | None) -> None:
    """Let streams of a narrow encoding, such as ASCII, write ``<=`` for ``≤``, otherwise ``?``, instead of failing."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict" and not has_unicode(stream):
            codecs.register_error("spelt", _spelt)
            stream.reconfigure(errors="spelt")


def _spelt(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_SPELT.get(char, "?") for char in error.object[error.start : error.end]), error.end


class Stream:
    """A text stream that is flushed after each write, and discards the output once its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        # Kept here, since sys.stdout and sys.stderr are redirected to the log of a step while it runs.
        self._stream = stream

    def write(self, text: str) -> None:
        """Write whole lines with one call, and flush."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            discard_output(self._stream.fileno())
