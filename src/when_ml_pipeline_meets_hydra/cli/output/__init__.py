"""What is shown at the terminal: a live view on a terminal, plain lines in a pipe, JSON lines for machines."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.cli.output.watching import Watcher


def watcher(*, as_json: bool = False) -> Watcher:
    """The observer that fits to where stderr leads; to be used in a ``with``."""
    if as_json:
        from when_ml_pipeline_meets_hydra.cli.output.json_lines import JsonLines

        return JsonLines()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        from when_ml_pipeline_meets_hydra.cli.output.live import LiveView

        return LiveView()
    from when_ml_pipeline_meets_hydra.cli.output.watching import PlainLines

    return PlainLines()
