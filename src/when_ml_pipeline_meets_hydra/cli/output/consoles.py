"""Rich consoles and print functions of the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions

from when_ml_pipeline_meets_hydra.cli.output.formatting import table_lines
from when_ml_pipeline_meets_hydra.cli.output.streams import has_unicode
from when_ml_pipeline_meets_hydra.cli.output.tables import Rows

_UNLIMITED, _NARROWEST = 10_000, 40  # characters
_MANY = 200  # rows; Rich is slow for more


class _Console(Console):
    """A console that finds its window also while file descriptors 0, 1 and 2 lead elsewhere."""

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        found = super().size
        try:
            if any(map(os.isatty, (0, 1, 2))):
                return found
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError, AttributeError):
            return found
        width = found.width if "COLUMNS" in os.environ else columns
        return ConsoleDimensions(max(width, _NARROWEST), lines or found.height)

    def on_broken_pipe(self) -> None:
        """Leave it to the program, which ends with 0; Rich would exit with 1."""
        raise


def console(*, stderr: bool = False, soft_wrap: bool = False, file: TextIO | None = None) -> Console:
    """Return a console as wide as the window; in a pipe nothing is cut or wrapped, unless $COLUMNS sets a width.

    A narrower window than 40 characters wraps the lines itself, since a table for it would be empty.
    With ``soft_wrap`` long lines are not broken, so that a path in them can be copied. ``file`` takes the place of
    stdout or stderr.
    """
    file = file or (sys.stderr if stderr else sys.stdout)
    named = os.environ.get("COLUMNS", "")
    width: int | None = int(named) if named.isdigit() else 0
    if not width:  # not set, or by a program that does not know it
        width = _UNLIMITED if not file.isatty() else _window_width(file) if named else None
    made = _Console(file=file, highlight=False, width=width, soft_wrap=soft_wrap)
    if made.width < _NARROWEST:
        made.width = _NARROWEST
    return made


def _window_width(file: TextIO) -> int:
    return os.get_terminal_size(file.fileno()).columns or 80


def print_json(content: Any) -> None:
    """Print plain values to stdout as JSON."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=not has_unicode(sys.stdout))
    sys.stdout.write("\n")


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout: coloured on a terminal, as plain text in a pipe and for many rows."""
    rows = list(rows)
    out = console()
    if out.is_terminal and len(rows) <= _MANY:
        out.print(Rows(columns, rows))
    else:
        sys.stdout.writelines(f"{line}\n" for line in table_lines(columns, rows))
