"""The flags beside Hydra's overrides, with Hydra's names where Hydra has them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from when_ml_pipeline_meets_hydra.cli.project import with_project_folders
from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean

if TYPE_CHECKING:
    import argparse

PROGRAM = "wmh"
LONG_NAME = "when_ml_pipeline_meets_hydra"  # the same program
FLAGS = (
    ("--multirun, -m", "Run a job for each combination of the listed values"),
    ("--config-dir, -cd DIR", "Also read option files from a folder of yours (may be repeated)"),
    ("--config-name, -cn NAME", "Run a job file of yours in that folder, in place of the program's config"),
    ("--json", "Print a line of JSON for each event of the run, for machines"),
    ("--cfg, -c job|hydra|all", "Print the composed config and run nothing (--resolve, --package, -p PACKAGE)"),
    (
        "--info, -i [WHAT]",
        "Print Hydra's information (all, config, defaults, defaults-tree, plugins, searchpath), or that of the project",
    ),
    ("-sc install=SHELL", "Print the completion script for bash, zsh or fish (uninstall=SHELL removes it)"),
    ("--help, -h", "Show this help; after c=STAGE: the parameters of that stage"),
    ("--version", "Show the version"),
)

LONG_FLAGS = {word.strip(",") for flag, _ in FLAGS for word in flag.split() if word.startswith("--")}


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments into flags and ``overrides``; a job file is one of ``config_dir``.

    Raises ``BadInput`` for an unknown flag, and for a job file that is not there.
    """
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            message = re.sub(r"(--?[\w-]+)=\S+", r"\1", message)  # the value may be a secret
            single = next((word for word in arguments if f"-{word}" in LONG_FLAGS), None)
            remedy = f"Did you mean -{single}?" if single else _close_flag(arguments) or f"See {PROGRAM} --help"
            raise BadInput(Problem(key="", message=message, remedy=remedy))

    parser = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    what = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath", "project")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=what)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    args = parser.parse_intermixed_args(arguments)
    args.config_dir = with_job_file(with_project_folders(args.config_dir), args.config_name)
    return args


def _close_flag(arguments: Sequence[str]) -> str | None:
    """The remedy for the first misspelt flag, if one is close to it: ``Did you mean '--multirun'?``."""
    flags = {*LONG_FLAGS, "--resolve", "--package"}
    names = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    remedies = (did_you_mean(name, flags, most=1) for name in names if name not in flags)
    return next((remedy for remedy in remedies if remedy and remedy.startswith("Did")), None)


def with_job_file(config_dirs: list[str], name: str | None) -> list[str]:
    """Return the folders of option files, with the job file of that name. Raises ``BadInput`` if there is none."""
    if name is None:
        return config_dirs
    from when_ml_pipeline_meets_hydra.composing.job_file import named_job_file

    return [named_job_file(name, config_dirs), *config_dirs]


def flags_of(config_dirs: Sequence[str]) -> list[str]:
    """Return the flags that name some folders of option files, and a job file among them."""
    from when_ml_pipeline_meets_hydra.composing.tree import is_job_file

    files = [Path(entry) for entry in config_dirs if is_job_file(entry)]
    own = [word for file in files for word in ("--config-dir", str(file.parent), "--config-name", file.stem)]
    others = [entry for entry in config_dirs if not is_job_file(entry) and entry not in own]
    return [*own, *(word for folder in others for word in ("--config-dir", folder))]


def search_path(args: argparse.Namespace) -> list[str]:
    """Return the folders of option files that the command line names, and the configured config store."""
    given = None
    if any("hydra.searchpath=" in override for override in args.overrides):
        from when_ml_pipeline_meets_hydra.composing import override_grammar

        given = override_grammar.search_path(args.overrides)
    if args.config_name is None:
        return with_store([*args.config_dir, *(given or ())])
    from when_ml_pipeline_meets_hydra.composing.job_file import with_own_search_path

    return with_store(list(with_own_search_path(args.config_dir, given)))


def with_store(entries: list[str]) -> list[str]:
    """Return the entries of a search path, and that of the configured config store."""
    if not os.environ.get(CONFIG_STORE):
        return entries
    from when_ml_pipeline_meets_hydra.composing.store_entry import configured

    return [*entries, *configured(entries)]
