"""The command line: its first argument selects Typer or Hydra's grammar, before either is imported."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "plan": "Show what would run and why, and run nothing",
    "graph": "Show which option file includes which",
    "new": "Make a project of your own",
    "check": "Check all option files of a project, and run nothing",
    "schema": "Let an editor complete and check option files",
    "runs": "List, show, compare and repeat runs",
    "store": "List, verify and clean the stored results",
    "config": "Keep configs in a store: edit, review, publish, revert",
    "serve": "Serve a model repository over HTTP",
    "web": "Edit, review and publish configs in a browser",
    "cluster": "Manage the users of a model server, and check it for drift",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with the arguments of the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    gc.set_threshold(50_000, 20, 20)  # collecting garbage during imports is a tenth of a short run
    from when_ml_pipeline_meets_hydra.cli.exit import exit_code
    from when_ml_pipeline_meets_hydra.cli.project import left_as_they_were

    with left_as_they_were():
        return exit_code(lambda: _dispatch(arguments), arguments)


def _open_closed_streams() -> None:
    """Open /dev/null for standard streams that are closed (``>&-``), so that no other file gets their descriptors."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def _dispatch(arguments: list[str]) -> int:
    from when_ml_pipeline_meets_hydra.cli.project import enter_project

    arguments[:] = enter_project(arguments)  # in place, since errors are shown as the arguments of an alias say
    if "-sc" in arguments or "--shell-completion" in arguments:
        from when_ml_pipeline_meets_hydra.cli.completion import complete

        return complete(arguments, os.environ)
    if arguments and arguments[0] in COMMANDS:
        from when_ml_pipeline_meets_hydra.cli.typer_app import run_command

        return run_command(arguments)
    from when_ml_pipeline_meets_hydra.cli.commands.run import run_stages

    return run_stages(arguments)
