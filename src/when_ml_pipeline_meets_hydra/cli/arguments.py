"""The flags beside Hydra's overrides, with Hydra's names where Hydra has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    import argparse

PROGRAM = "wmh"
LONG_NAME = "when_ml_pipeline_meets_hydra"  # the same program
FLAGS = (
    ("--multirun, -m", "Run a job for each combination of the listed values"),
    ("--config-dir, -cd DIR", "Also read option files from a folder of yours (may be repeated)"),
    ("--json", "Print a line of JSON for each event of the run, for machines"),
    ("--cfg, -c job|hydra|all", "Print the composed config and run nothing (--resolve, --package, -p PACKAGE)"),
    ("--info, -i [WHAT]", "Print Hydra's information: all, config, defaults, defaults-tree, plugins, searchpath"),
    ("-sc install=SHELL", "Print the completion script for bash, zsh or fish (uninstall=SHELL removes it)"),
    ("--help, -h", "Show this help; after c=STAGE: the parameters of that stage"),
    ("--version", "Show the version"),
)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments into flags and ``overrides``. Raises ``BadInput`` for an unknown flag."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            message = re.sub(r"(--?[\w-]+)=\S+", r"\1", message)  # the value may be a secret
            raise BadInput(Problem(key="", message=message, remedy=f"See {PROGRAM} --help"))

    parser = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    what = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=what)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    return parser.parse_intermixed_args(arguments)


def search_path(args: argparse.Namespace) -> list[str]:
    """Return the folders of option files that the command line names."""
    if not any("hydra.searchpath=" in override for override in args.overrides):
        return list(args.config_dir)
    from when_ml_pipeline_meets_hydra.composing import override_grammar

    return [*args.config_dir, *override_grammar.search_path(args.overrides)]
