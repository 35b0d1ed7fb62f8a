"""The consoles that the command line prints to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console

from when_ml_pipeline_meets_hydra.cli.output.formatting import table_lines
from when_ml_pipeline_meets_hydra.cli.output.tables import Rows

_MANY = 200  # rows that take Rich too long


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console as wide as the window; in a pipe nothing is cut or wrapped, unless $COLUMNS says how wide it is.

    With ``soft_wrap`` long lines are left to the terminal, so that a path in them stays in one piece.
    """
    file = sys.stderr if stderr else sys.stdout
    is_open = not file.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, highlight=False, width=10_000 if is_open else None, soft_wrap=soft_wrap)


def print_json(content: Any) -> None:
    """Print plain values to stdout, for machines."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout: coloured and as wide as the window, or as plain text for a pipe and for many rows."""
    rows = list(rows)
    out = console()
    if out.is_terminal and len(rows) <= _MANY:
        out.print(Rows(columns, rows))
    else:
        sys.stdout.writelines(f"{line}\n" for line in table_lines(columns, rows))
