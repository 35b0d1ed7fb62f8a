"""Run stages by Hydra's grammar: ``c=… key=value --multirun``; also the flags that only print."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.cli.arguments import LONG_FLAGS, flags_of, parse_arguments, search_path, with_store
from when_ml_pipeline_meets_hydra.cli.project import show_project, with_project_folders
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean

if TYPE_CHECKING:
    from argparse import Namespace


def run_stages(arguments: list[str]) -> int:
    """Run the stages that the arguments name, or handle a flag such as ``--help``; returns the exit code."""
    if arguments in ([], ["--help"], ["-h"]):  # without a parser, to be fast
        folders = with_store(with_project_folders(()))
        return _overview(folders) if not arguments else _general_help(folders)
    words = [*arguments, *flags_of(with_project_folders(()))]  # what a cached run depends on
    if (code := _replayed(words)) is not None:
        return code
    args = parse_arguments(arguments)
    overrides = {o.partition("=")[0]: o.partition("=")[2] for o in args.overrides}
    if args.overrides and "=" not in args.overrides[0] and not args.overrides[0].startswith("~"):
        raise BadInput(_no_such_command(args.overrides[0], search_path(args)))
    without = "help" if args.config_name is None else ""  # a job file runs all of its own stages
    stage = overrides.get("c", without)
    if args.json and (args.version or args.info or args.cfg or args.help or stage == "help"):
        raise BadInput(Problem(key="--json", message="is only used with a run", remedy="Add c=STAGE"))
    if args.version:
        from when_ml_pipeline_meets_hydra import __version__

        print(__version__)
        return 0
    if args.info == "project":
        return show_project()
    if args.info or args.cfg:
        from when_ml_pipeline_meets_hydra.cli.commands import inspect

        return inspect.show(args)
    if args.help and stage != "help":
        from when_ml_pipeline_meets_hydra.cli.help.stage import show_stage_help

        return show_stage_help(args.overrides, args.config_dir, multirun=args.multirun)
    if args.help and set(overrides) - {"c", "hydra.searchpath"}:
        from when_ml_pipeline_meets_hydra.cli.commands import inspect
        from when_ml_pipeline_meets_hydra.cli.help.choices import show_choices_help

        show_choices_help(args)
        args.cfg = "job"
        return inspect.show(args)
    if args.help:
        return _general_help(search_path(args))
    if stage == "help" and set(overrides) <= {"c", "hydra.searchpath"}:
        return _overview(search_path(args))
    return _run(args, words)


def _no_such_command(word: str, folders: Sequence[str]) -> Problem:
    from when_ml_pipeline_meets_hydra.cli import COMMANDS
    from when_ml_pipeline_meets_hydra.composing.offered import stages_of
    from when_ml_pipeline_meets_hydra.composing.tree import read_options

    stages = [f"c={stage.name}" for stage in stages_of(read_options(folders))]
    if f"c={word}" in stages:
        remedy: str | None = f"It is a stage: write c={word}"
    elif f"--{word}" in LONG_FLAGS:
        remedy = f"It is a flag: write --{word}"
    else:
        remedy = did_you_mean(word, [*COMMANDS, *stages])
    return Problem(key=word, message="there is no such command", remedy=remedy)


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


def _chooses_search(override: str) -> bool:
    key, _, value = override.lstrip("+").partition("=")
    return key == "hydra/sweeper" and value != "plan"


def _turns_out_as_search(error: BadInput) -> bool:
    """Whether a command was refused because an option file, such as one of experiments, chooses a search."""
    from when_ml_pipeline_meets_hydra.composing.legal_overrides import IS_SEARCH

    return any(problem.message == IS_SEARCH for problem in error.problems)


def _search(args: Namespace) -> int:
    from when_ml_pipeline_meets_hydra.cli.output import output_observer
    from when_ml_pipeline_meets_hydra.searching.search import search

    with output_observer(as_json=args.json) as observer:
        return int(search(args.overrides, config_dirs=args.config_dir, observer=observer).exit_code)


def _run(args: Namespace, words: list[str]) -> int:
    from when_ml_pipeline_meets_hydra.cache.runs import cache_run
    from when_ml_pipeline_meets_hydra.cli.output import output_observer
    from when_ml_pipeline_meets_hydra.pipeline import run

    if any(_chooses_search(o) for o in args.overrides):
        return _search(args)
    started = time.time()
    try:
        with output_observer(as_json=args.json) as observer:
            done = run(args.overrides, multirun=args.multirun, config_dirs=args.config_dir, observer=observer)
    except BadInput as error:
        if not _turns_out_as_search(error):
            raise
        return _search(args)
    cache_run(words, done, started)
    return int(done.exit_code)
