"""The consoles that the command line prints to."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console as wide as the window; in a pipe nothing is cut or wrapped, unless $COLUMNS says how wide it is.

    With ``soft_wrap`` long lines are left to the terminal, so that a path in them stays in one piece.
    """
    file = sys.stderr if stderr else sys.stdout
    is_open = not file.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, highlight=False, width=10_000 if is_open else None, soft_wrap=soft_wrap)
