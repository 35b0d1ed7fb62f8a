"""What the option files offer: the stages, and the default option of each group; read without Hydra, for help."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from when_ml_pipeline_meets_hydra.composing.tree import (
    STAGES,
    Option,
    Stage,
    broken_file,
    default_choices,
    load_yaml,
    read_stages,
)
from when_ml_pipeline_meets_hydra.errors import BadInput

Groups = Mapping[str, Mapping[str, Option]]


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
