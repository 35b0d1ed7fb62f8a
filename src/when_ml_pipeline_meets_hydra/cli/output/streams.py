"""Text streams that survive a closed pipe."""

from __future__ import annotations

import os
from typing import TextIO


def discard_output(*descriptors: int) -> None:
    """Redirect file descriptors to /dev/null, so that later writes and Python's flush at exit do not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


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
