"""The output of ``c=help`` and of the program without arguments: the stages, and how to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from when_ml_pipeline_meets_hydra.cli.arguments import PROGRAM
from when_ml_pipeline_meets_hydra.composing.tree import (
    HELP,
    STAGES,
    Option,
    Stage,
    broken_file,
    default_choices,
    load_yaml,
    read_options,
    read_stages,
)
from when_ml_pipeline_meets_hydra.errors import BadInput

Groups = Mapping[str, Mapping[str, Option]]


def show_commands(search_path: Sequence[str]) -> int:
    """Print the stages, and how to run them."""
    groups = read_options(search_path)
    names = [stage.name for stage in stages_of(groups)]
    print(f"This app has {[*names, HELP]} commands")
    first = " or ".join(f"c={name}" for name in names)
    several = f", or several at once, such as c={names[0]},{names[-1]} --multirun" if names[1:] else ""
    print(f"\nRun one with {first}{several}.")
    print(f"{PROGRAM} --help shows every choice, {PROGRAM} plan c=… what would run.")
    return 0


def choices_of(groups: Groups) -> dict[str, str]:
    """Return the default option of each group, including the groups of subcommands."""
    subcommands = {stage.group: stage.subcommand for stage in stages_of(groups) if stage.subcommand}
    chosen = (groups[group].get(name) for group, name in subcommands.items())
    try:
        return {**default_choices(option for option in chosen if option), **subcommands}
    except yaml.YAMLError:
        return default_choices()  # a broken file is reported when it is chosen


def stages_of(groups: Groups) -> tuple[Stage, ...]:
    """Return the stages of the option files, in order."""

    def load(name: str) -> Mapping[str, object]:
        try:
            content = load_yaml(groups[STAGES][name].text())
        except yaml.YAMLError as error:
            raise BadInput(broken_file(f"{STAGES}={name}", groups[STAGES][name].file, error)) from error
        return content if isinstance(content, dict) else {}

    return read_stages(groups.get(STAGES, {}), load, lambda group: list(groups.get(group, ())))
