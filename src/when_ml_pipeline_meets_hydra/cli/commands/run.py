"""Run stages by Hydra's grammar: ``c=… key=value --multirun``; also the flags that only print."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.cli.arguments import parse_arguments, search_path
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from argparse import Namespace


def run_stages(arguments: list[str]) -> int:
    """Run the stages that the arguments name, or handle a flag such as ``--help``; returns the exit code."""
    if arguments in ([], ["--help"], ["-h"]):  # without a parser, to be fast
        return _overview([]) if not arguments else _general_help([])
    if (code := _replayed(arguments)) is not None:
        return code
    args = parse_arguments(arguments)
    overrides = {o.partition("=")[0]: o.partition("=")[2] for o in args.overrides}
    stage = overrides.get("c", "help")
    if args.json and (args.version or args.info or args.cfg or args.help or stage == "help"):
        raise BadInput(Problem(key="--json", message="is only used with a run", remedy="Add c=STAGE"))
    if args.version:
        from when_ml_pipeline_meets_hydra import __version__

        print(__version__)
        return 0
    if args.info or args.cfg:
        from when_ml_pipeline_meets_hydra.cli.commands import inspect

        return inspect.show(args)
    if args.help and stage != "help":
        from when_ml_pipeline_meets_hydra.cli.help.stage import show_stage_help

        return show_stage_help(args.overrides, args.config_dir, multirun=args.multirun)
    if args.help:
        return _general_help(search_path(args))
    if stage == "help" and set(overrides) <= {"c", "hydra.searchpath"}:
        return _overview(search_path(args))
    return _run(args, arguments)


def _overview(folders: Sequence[str]) -> int:
    from when_ml_pipeline_meets_hydra.cli.help.overview import show_commands

    return show_commands(folders)


def _general_help(folders: Sequence[str]) -> int:
    from when_ml_pipeline_meets_hydra.cli.help.groups import show_help

    return show_help(folders)


def _replayed(words: list[str]) -> int | None:
    """Replay a cached run; None if the command has to be run."""
    from when_ml_pipeline_meets_hydra.cache.runs import find_cached_run

    if (cached := find_cached_run(words)) is None:
        return None
    from when_ml_pipeline_meets_hydra.cli.output import output_observer

    with output_observer(as_json="--json" in words) as observer:
        return int(cached.replay(observer))


def _run(args: Namespace, words: list[str]) -> int:
    from when_ml_pipeline_meets_hydra.cache.runs import cache_run
    from when_ml_pipeline_meets_hydra.cli.output import output_observer
    from when_ml_pipeline_meets_hydra.pipeline import run

    started = time.time()
    with output_observer(as_json=args.json) as observer:
        done = run(args.overrides, multirun=args.multirun, config_dirs=args.config_dir, observer=observer)
    cache_run(words, done, started)
    return int(done.exit_code)
