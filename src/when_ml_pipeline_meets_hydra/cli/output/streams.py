"""stdout and stderr as a run writes to them."""

from __future__ import annotations

import os
from typing import TextIO


def let_go(*descriptors: int) -> None:
    """Let what is still written there, also when Python ends, go nowhere: nobody reads it any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


class Stream:
    """A text stream that is flushed at once, and keeps silent when nobody reads any more; the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        # While a step runs, sys.stdout and sys.stderr lead to its log: the real ones are kept here.
        self._stream = stream

    def write(self, text: str) -> None:
        """Write whole lines in one piece."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            let_go(self._stream.fileno())
