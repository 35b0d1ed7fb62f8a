"""``GROUP=OPTION --help``: what the chosen options receive."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets, named_packages, try_locate
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages
from when_ml_pipeline_meets_hydra.cli.help.stage import show_key
from when_ml_pipeline_meets_hydra.cli.output.consoles import console
from when_ml_pipeline_meets_hydra.composing.compose import compose
from when_ml_pipeline_meets_hydra.composing.dependent_defaults import groups_behind
from when_ml_pipeline_meets_hydra.composing.tree import STAGES, Option

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader


def show_choices_help(args: Namespace) -> None:
    """Print the keys of each chosen option with type, range, value and origin and the heading of the config."""
    composed = compose(args.overrides, multirun=args.multirun, config_dirs=args.config_dir)
    keys, masks = find_secrets(composed)
    loader, job, out = composed.loader(), composed.jobs[0], console()
    config = masks.tree(dict(job.config), keys)
    allowed = allowed_packages(named_packages(job))
    for group, name in _shown(job.choices, job.chosen, loader):
        path = loader.source_file(f"{group}/{name}")
        key = loader.package(f"{group}/{name}")
        if path and key in config:
            option = Option(group=group, name=name, file=Path(path))
            out.print(Text.assemble((f"{group}={name}", "bold"), f": {option.description}"))
            show_key(out, job, masks, key, try_locate(job.config[key], allowed), config)
    out.print(Text("\nConfig", "bold"))


def _shown(lines: Iterable[str], chosen: Mapping[str, str], loader: Loader) -> Iterator[tuple[str, str]]:
    """The chosen options, each with those whose values depend on it: of a model also its hyperparameters."""
    shown: dict[str, str] = {}
    for line in lines:
        group, _, name = line.lstrip("+~").partition("=")
        shown[group.partition("@")[0]] = name.strip("'")
    for group in tuple(shown):
        others = (g for g in chosen if "@" not in g and not g.startswith(("hydra", f"{STAGES}/")))
        shown |= {g: chosen[g] for g in others if group in groups_behind(f"{g}/{chosen[g]}", loader)}
    yield from shown.items()
