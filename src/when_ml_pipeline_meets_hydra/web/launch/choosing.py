"""What can be chosen, as ``--help`` shows it, and the command line that a form comes to."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE
from when_ml_pipeline_meets_hydra.composing.offered import Groups, choices_of, stages_of
from when_ml_pipeline_meets_hydra.composing.store_entry import StoreEntry
from when_ml_pipeline_meets_hydra.composing.tree import STAGES, Stage, read_options, shown_groups
from when_ml_pipeline_meets_hydra.web.launch.checking import Surroundings
from when_ml_pipeline_meets_hydra.web.pages import Form

PROGRAM, GROUP = "wmh", "group:"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A group with its options and their descriptions; ``prefix`` is ``+`` where no option of it is the default."""

    group: str
    options: Mapping[str, str]
    default: str | None

    @property
    def prefix(self) -> str:
        """What stands before the group in an override."""
        return "" if self.default else "+"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The stages with their descriptions, and the groups by the first part of their names."""

    stages: Mapping[str, str]
    sections: Mapping[str, Sequence[Choice]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a form asks for."""

    stages: tuple[str, ...]
    chosen: Mapping[str, str]
    more: tuple[str, ...]
    several: bool

    @classmethod
    def of(cls, form: Form) -> Asked:
        """Read a form; a group that it leaves alone has an empty value."""
        chosen = {name.removeprefix(GROUP): values[-1] for name, values in form.items() if name.startswith(GROUP)}
        lines = (line.strip() for line in form.get("more", [""])[-1].splitlines())
        return cls(
            stages=tuple(form.get("c", ())),
            chosen={group: option for group, option in chosen.items() if option},
            more=tuple(filter(None, lines)),
            several="several" in form,
        )

    @property
    def multirun(self) -> bool:
        """Whether it may make several jobs."""
        return self.several or len(self.stages) > 1

    @property
    def words(self) -> list[str]:
        """The overrides."""
        stages = [f"{STAGES}={','.join(self.stages)}"] if self.stages else []
        return [*stages, *(f"{group}={option}" for group, option in self.chosen.items()), *self.more]


def offer(where: Surroundings) -> Offer:
    """Return what option files and the entries of the config store offer. Raises ``BadInput`` for a broken store."""
    groups = read_options([*where.config_dirs, *([f"configs://{where.store}"] if where.store else [])])
    stages = stages_of(groups)
    sections: dict[str, list[Choice]] = {stage.name: [] for stage in stages}
    for choice in _choices(groups, stages):
        top = choice.group.removeprefix(f"{STAGES}/").partition("/")[0].removesuffix("_sub")
        sections.setdefault(top, []).append(choice)
    described = {stage.name: groups[STAGES][stage.name].description for stage in stages}
    return Offer(stages=described, sections={name: found for name, found in sections.items() if found})


def _choices(groups: Groups, stages: Sequence[Stage]) -> Iterator[Choice]:
    """The groups in which something is chosen by default, and those of whole configs, such as ``experiment``."""
    defaults, own = choices_of(groups), {stage.group for stage in stages}
    for group in sorted(shown_groups(groups), key=lambda group: (group not in own, group)):
        is_whole = "/" not in group and group != STAGES
        if group in own or is_whole or (group in defaults and group != STAGES):
            options = {name: option.description for name, option in groups[group].items()}
            yield Choice(group=group, options=options, default=defaults.get(group))


def flags(where: Surroundings, *, multirun: bool) -> list[str]:
    """Return the flags that a launched run has beside its overrides."""
    folders = [word for folder in where.config_dirs for word in ("--config-dir", folder)]
    return [*folders, *(["--multirun"] if multirun else [])]


def command_line(where: Surroundings, asked: Asked, words: Sequence[str], *, is_configured: bool) -> str:
    """Return the command line as a person would type it; a store that is not configured stands before it."""
    line = shlex.join([PROGRAM, *words, *flags(where, multirun=asked.multirun)])
    if not where.store or is_configured:
        return line
    return f"{CONFIG_STORE}={shlex.quote(StoreEntry.parse(where.store).shown)} {line}"
