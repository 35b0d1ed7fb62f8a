"""The flags around Hydra's grammar: ours, with Hydra's names where Hydra has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    import argparse

PROGRAM = "when_ml_pipeline_meets_hydra"
FLAGS = (
    ("--multirun, -m", "Run a job for each combination of the listed values"),
    ("--config-dir, -cd DIR", "Also read option files from a folder of yours (may be repeated)"),
    ("--json", "Print a line of JSON for each event of the run, for machines"),
    ("--cfg, -c job|hydra|all", "Print the composed config and run nothing (--resolve, --package, -p PACKAGE)"),
    ("--info, -i [WHAT]", "Print what Hydra knows: all, config, defaults, defaults-tree, plugins, searchpath"),
    ("-sc install=SHELL", "Print the completion script for bash, zsh or fish (uninstall= takes it back)"),
    ("--help, -h", "Show this; after c=STAGE: what that stage receives"),
    ("--version", "Show the version"),
)


def parser() -> argparse.ArgumentParser:
    """The parser of everything but our own commands."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            message = re.sub(r"(--?[\w-]+)=\S+", r"\1", message)  # what follows may be a secret
            raise BadInput(Problem(key="", message=message, remedy=f"See {PROGRAM} --help"))

    parse = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    parse.add_argument("overrides", nargs="*")
    parse.add_argument("--multirun", "-m", action="store_true")
    parse.add_argument("--config-dir", "-cd", action="append", default=[])
    parse.add_argument("--json", action="store_true")
    parse.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parse.add_argument("--resolve", action="store_true")
    parse.add_argument("--package", "-p")
    what = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    parse.add_argument("--info", "-i", nargs="?", const="all", choices=what)
    parse.add_argument("--help", "-h", action="store_true")
    parse.add_argument("--version", action="store_true")
    return parse


def parse_words(words: list[str]) -> argparse.Namespace:
    """The words as flags and ``overrides``. Raises ``BadInput`` for a flag that does not exist."""
    return parser().parse_intermixed_args(words)


def search_path(args: argparse.Namespace) -> list[str]:
    """The folders of option files that the command line names."""
    if not any("hydra.searchpath=" in override for override in args.overrides):
        return list(args.config_dir)
    from when_ml_pipeline_meets_hydra.composing import override_grammar

    return [*args.config_dir, *override_grammar.search_path(args.overrides)]
