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


_FAILING = ("strict", "surrogateescape")  # the second one is Python's in the locale C
_SPELT = {"≤": "<=", "≥": ">=", "→": "->", "…": "...", "×": "x", "├": "|", "│": "|", "└": "`", "─": "-"}


def replace_what_cannot_be_shown(*streams: TextIO | None) -> None:
    """Let streams of a narrow encoding, such as ASCII, write ``<=`` for ``≤``, otherwise ``?``, instead of failing.

    In UTF-8, ``?`` stands for bytes that are not UTF-8, as names of files may have them.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _FAILING:
            codecs.register_error("spelt", _spelt)
            stream.reconfigure(errors="spelt")


def _spelt(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_SPELT.get(char, "?") for char in error.object[error.start : error.end]), error.end


def own_stream(stream: TextIO) -> TextIO:
    """Return a stream that goes on to lead where stdout or stderr leads now.

    While a step runs, ``sys.stdout`` and ``sys.stderr``, and their file descriptors, lead to the output of the step.
    """
    try:
        if stream.fileno() not in (1, 2):
            return stream
        stream.flush()
        return open(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors=stream.errors)  # noqa: PTH123
    except (OSError, ValueError, AttributeError):  # it is no file
        return stream


class Stream:
    """A text stream that is flushed after each write, and discards the output once its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = own_stream(stream)

    def write(self, text: str) -> None:
        """Write whole lines with one call, and flush."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            discard_output(self._stream.fileno())
