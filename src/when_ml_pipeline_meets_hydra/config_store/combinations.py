"""Which entries use which, and the overrides by which a combination with an entry is composed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.composing.compose import compose_with_problems
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.composing.tree import ANY_OPTION, HELP, STAGES, groups_in
from when_ml_pipeline_meets_hydra.config_store.entries import included
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

# In the header of an entry: another choice that it is made for, "# @with modeling/model=lightgbm".
_WITH = re.compile(r"^\s*#\s*@with\s+(\S+=\S+)\s*$", re.MULTILINE)


def users_of(paths: Collection[str], texts: Mapping[str, str]) -> set[str]:
    """The entries that have any of ``paths`` in their defaults list, directly or not, and these themselves."""
    direct = {path: [_pattern(name) for name in included(path, text)] for path, text in texts.items()}
    found, waiting = set(paths), list(paths)
    while waiting:
        used = waiting.pop()
        users = {path for path, names in direct.items() if any(name.fullmatch(used) for name in names)} - found
        found |= users
        waiting += users
    return found


def parts_of(path: str, texts: Mapping[str, str]) -> list[str]:
    """An entry and the entries in its defaults list, directly or not."""
    found, waiting = {path: None}, [path]
    while waiting:
        current = waiting.pop()
        names = [_pattern(name) for name in included(current, texts[current])]
        new = [p for p in texts if p not in found and any(name.fullmatch(p) for name in names)]
        found |= dict.fromkeys(new)
        waiting += new
    return list(found)


def _pattern(name: str) -> re.Pattern[str]:
    """Matches the paths that a name in a defaults list may stand for: ``modeling/param/${modeling/model}/small``."""
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\$\{[^}]*\}", name))))


@dataclass(frozen=True, kw_only=True)
class Combination:
    """How options of one group are composed: ``group`` is what is swept, ``others`` are further overrides."""

    group: str
    stages: tuple[str, ...]
    others: tuple[str, ...]

    def overrides(self, names: Iterable[str], stages: Sequence[str] = ()) -> list[str]:
        """The overrides of a sweep over options of the group."""
        chosen = ",".join(f"'{name}'" if re.search(r"[^\w-]", name) else name for name in names)
        own = f"{self.group}={chosen}"
        if self.group == STAGES:
            return [own, *self.others]
        return [f"{STAGES}={','.join(stages or self.stages)}", own, *self.others]


def combinations(
    paths: Iterable[str], texts: Mapping[str, str], search: Sequence[str]
) -> Iterator[tuple[Combination, list[str]]]:
    """Yield the combinations in which entries are used, each with its entries; files outside of groups have none."""
    composed = compose_with_problems([f"{STAGES}={HELP}"], config_dirs=search)
    loader = composed.loader()
    chosen = composed.jobs[0].chosen if composed.jobs else dict.fromkeys(loader.listed)
    found: dict[Combination, list[str]] = {}
    for path in sorted(paths):
        if path in texts and "/" in path:
            found.setdefault(_combination(path, texts[path], loader, chosen), []).append(path)
    yield from found.items()


def _combination(path: str, text: str, loader: Loader, chosen: Collection[str]) -> Combination:
    group, _, name = path.rpartition("/")
    stages = tuple(stage.name for stage in loader.stages)
    others = tuple(_WITH.findall(text))
    if group == STAGES:
        return Combination(group=group, stages=(), others=others)
    if group.startswith(f"{STAGES}/"):
        stage = group.removeprefix(f"{STAGES}/").removesuffix("_sub")
        return Combination(group=group, stages=(stage,), others=others)
    parent, _, choice = group.rpartition("/")
    if parent in chosen and (chooser := _chooser(f"{parent}/{name}", loader)):
        if choice == ANY_OPTION:
            choice = next((o for o in loader.options(chooser) if not loader.is_group(f"{parent}/{o}")), choice)
        chosen_file = loader.source_file(f"{chooser}/{choice}")
        inherited = _WITH.findall(Path(chosen_file).read_text(encoding="utf-8-sig")) if chosen_file else ()
        return Combination(group=parent, stages=stages, others=(f"{chooser}={choice}", *inherited, *others))
    sign = "" if group in chosen else "+"
    return Combination(group=f"{sign}{group}", stages=stages, others=others)


def _chooser(path: str, loader: Loader) -> str | None:
    """The group on whose chosen option the files of an option depend."""
    read = loader.read(path)
    named = [str(getattr(default, "path", "")) for default in (read.defaults_list if read else None) or ()]
    return next((group for name in named for group in groups_in(name)), None)


def composed_jobs(
    paths: Iterable[str], texts: Mapping[str, str], search: Sequence[str]
) -> tuple[dict[str, Job], list[Problem]]:
    """Compose each entry with the defaults of everything else; returns the jobs and the problems."""
    jobs: dict[str, Job] = {}
    problems: list[Problem] = []
    for combination, members in combinations(paths, texts, search):
        composed = composed_sweep(combination.overrides(map(name_of, members), (HELP,)), search, problems)
        for path, job in zip(members, composed.jobs if composed else (), strict=False):
            jobs[path] = job
    return jobs, problems


def composed_sweep(overrides: Sequence[str], search: Sequence[str], problems: list[Problem]) -> Composed | None:
    """Compose a sweep; what is wrong is appended to ``problems``."""
    try:
        composed = compose_with_problems(overrides, multirun=True, config_dirs=search)
    except BadInput as wrong:
        problems += wrong.problems
        return None
    problems += composed.problems
    return composed


def name_of(path: str) -> str:
    """The name of an entry in its group."""
    return path.rpartition("/")[2]
