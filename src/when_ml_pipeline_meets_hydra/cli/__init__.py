"""The command line. Its first word decides who reads the rest, before Typer or Hydra is imported."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "plan": "Show what would run and why, and run nothing",
    "graph": "Show which option file pulls in which",
    "runs": "List, show, compare and repeat runs",
    "store": "List, verify and clean the stored results",
    "serve": "Serve a model repository over HTTP",
    "cluster": "Look after a model server",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with the words of the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(50_000, 20, 20)  # looking for garbage among what imports leave is a tenth of a short run
    from when_ml_pipeline_meets_hydra.cli.exit import exit_code

    return exit_code(lambda: _dispatch(words), words)


def _dispatch(words: list[str]) -> int:
    if "-sc" in words or "--shell-completion" in words:
        from when_ml_pipeline_meets_hydra.cli.completion import complete

        return complete(words, os.environ)
    if words and words[0] in COMMANDS:
        from when_ml_pipeline_meets_hydra.cli.typer_app import run_command

        return run_command(words)
    from when_ml_pipeline_meets_hydra.cli.commands.run import run_words

    return run_words(words)
