"""Output of a run: a live view on a terminal, plain lines in a pipe, JSON lines for machines."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.cli.output.plain_lines import OutputObserver


def output_observer(*, as_json: bool = False) -> OutputObserver:
    """Return the observer for the kind of stderr, as a context manager."""
    if as_json:
        from when_ml_pipeline_meets_hydra.cli.output.json_lines import JsonLines

        return JsonLines()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        from when_ml_pipeline_meets_hydra.cli.output.live import LiveView

        return LiveView()
    from when_ml_pipeline_meets_hydra.cli.output.plain_lines import PlainLines

    return PlainLines()
