"""Composes one config per job from overrides, and reports every invalid override at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from omegaconf import OmegaConf

from when_ml_pipeline_meets_hydra.composing import config_loader, override_grammar, plugins
from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.foreign_keys import foreign_keys
from when_ml_pipeline_meets_hydra.composing.job import (
    JOB_NUMBER,
    LOCAL_LAUNCHER,
    NO_SUCH_KEY,
    ORCHESTRATOR_LAUNCHER,
    RUN_FOLDER,
    SEARCHES,
    Composed,
    Job,
)
from when_ml_pipeline_meets_hydra.composing.job_file import job_file, last_op, with_own_search_path
from when_ml_pipeline_meets_hydra.composing.legal_overrides import (
    LAUNCHER_GROUP,
    MOST_JOBS,
    SWEEPER_GROUP,
    is_illegal,
    needs_multirun,
    no_folder,
    parse,
    wrong_sweeper,
)
from when_ml_pipeline_meets_hydra.composing.origins import Origins, OverriddenKeys
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override, expand
from when_ml_pipeline_meets_hydra.composing.store_entry import configured
from when_ml_pipeline_meets_hydra.composing.sweep import SweepComposer
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES
from when_ml_pipeline_meets_hydra.composing.values import chain_of, first_line
from when_ml_pipeline_meets_hydra.composing.wrong_names import (
    in_defaults_list,
    with_owners,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged
from when_ml_pipeline_meets_hydra.masking import Redactor

_MAPPINGS = (
    *("run", "sweep", "runtime", "overrides", "job", "job.config", "job.config.override_dirname"),
    *("launcher", "sweeper", "sweeper.params"),
)


def compose(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str] = ()) -> Composed:
    """Compose one config per job.

    ``overrides`` follow Hydra's grammar; ``config_dirs`` are further folders of option files. Raises ``BadInput``
    with every override that does not parse, names an unknown option or key, or sweeps without ``multirun``.
    """
    return compose_with_problems(overrides, multirun=multirun, config_dirs=config_dirs).without_problems()


def compose_with_problems(
    overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str] = ()
) -> Composed:
    """Compose one config per job from the valid overrides; the others are reported in ``problems``."""
    command = ParsedCommand(overrides, config_dirs, multirun=multirun)
    if command.is_search:
        command.check_sweeper(searches=False)
        return command.composed(())
    if not multirun:
        command.problems += [needs_multirun(o, command.loader) for o in command.legal if o.is_sweep_override()]
    is_chosen = any(o.key_or_group == SWEEPER_GROUP for o in command.legal)
    if multirun or is_chosen:
        command.check_sweeper(searches=False)
    command.problems += (unfit := list(_wrong_sizes(command.of_jobs)))
    return command.composed(() if unfit else command.jobs(expand(command.of_jobs), multirun=multirun))


class ParsedCommand:
    """The parsed overrides of a command, Hydra's own config, and what composes the jobs; with their ``problems``."""

    def __init__(
        self, overrides: Sequence[str], config_dirs: Sequence[str], *, multirun: bool, searches: bool = False
    ) -> None:
        self.problems: list[Problem] = []
        requested = with_own_search_path(config_dirs, override_grammar.search_path(overrides))
        self.folders = (*requested, *configured(requested))
        self.loader = loader = Loader(self.folders)
        if (file := job_file(config_dirs)) and (missing := loader.unavailable()):
            raise BadInput(*(no_folder(path, config_dirs, file) for path in missing))
        self._stages = {stage.name: stage for stage in loader.stages}
        parsed = list(parse(overrides, loader, self.problems))
        parsed = [*_hydra_choices_in_files(parsed, loader), *parsed]
        found = self._legal([o for o in parsed if not o.is_sweep_override()], searches=searches)
        hydra_values = [o for o in found if o.is_hydra_override() and not loader.is_choice(o)]
        self._composer = SweepComposer(loader, hydra_values)
        self.hydra = _hydra(self._composer, [o for o in found if loader.is_choice(o)], self.problems)
        searches = searches or self.is_search
        found += self._legal([o for o in parsed if o.is_sweep_override()], searches=searches)
        legal = [o for o in parsed if o in found]
        self.problems += [no_folder(path, config_dirs) for path in loader.unavailable()]
        if multirun:
            more = parse(_sweeper_params(self.hydra, self.problems), loader, self.problems)
            legal = [*(o for o in more if not is_illegal(o, loader, self.problems, searches=searches)), *legal]
        self.legal = legal
        self.of_jobs = [o for o in legal if o not in hydra_values]
        self.invalid = frozenset(loader.package(p.key) for p in self.problems if loader.is_group(p.key))
        self._keys = OverriddenKeys(loader)

    def _legal(self, parsed: Iterable[Override], *, searches: bool) -> list[Override]:
        return [o for o in parsed if not is_illegal(o, self.loader, self.problems, searches=searches)]

    @property
    def is_search(self) -> bool:
        """Whether Hydra's own config has a sweeper that searches, wherever it was chosen."""
        return bool(self.hydra) and self.hydra["sweeper"].get("_target_") == SEARCHES

    def check_sweeper(self, *, searches: bool) -> None:
        """Add the problem of a sweeper that does not plan a sweep, or search, unless its override has another one."""
        is_known = all(problem.key != SWEEPER_GROUP for problem in self.problems)
        if is_known and (wrong := wrong_sweeper(self.hydra, searches=searches)):
            self.problems.append(wrong)

    def jobs(self, expanded: Iterable[Sequence[Override]], *, multirun: bool, first: int = 0) -> list[Job]:
        """Compose the jobs with these overrides, numbered from ``first``; problems are added."""
        if STAGES in self.invalid:
            return []
        numbered = enumerate(expanded, first)
        return list(_jobs(numbered, self.loader, self._keys, self._composer, self.problems, multirun=multirun))

    def composed(self, jobs: Sequence[Job]) -> Composed:
        """The composed jobs with everything else that is known, and all problems so far."""
        invalid, hydra = self.invalid, self.hydra
        self.problems += self._composer.problems() if STAGES not in invalid else ()
        reported = (p for p in self.problems if p.message != NO_SUCH_KEY or p.key.partition(".")[0] not in invalid)
        is_shuffled = any(map(override_grammar.is_shuffled, self.legal))
        return Composed(
            jobs=tuple(jobs),
            stages=self._stages,
            loader=lambda: self.loader,
            hydra=hydra,
            folders=self.folders,
            search_path=self.loader.search_path,
            checkouts=self.loader.checkouts,
            is_constant=self._composer.is_constant and _is_constant(hydra) and not is_shuffled,
            notes=plugins.left_out(),
            foreign=foreign_keys(jobs, self.loader),
            problems=merged(reported),
            invalid_choices=invalid,
        )


def _hydra(composer: SweepComposer, choices: Sequence[Override], problems: list[Problem]) -> Mapping[str, Any]:
    """Hydra's own config, unresolved but for our launcher and search; empty where it cannot be composed."""
    try:
        cfg = composer.whole(choices).hydra
        hydra: Any = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
        if wrong := list(_non_mappings(hydra)):
            problems += (Problem(key=key, message="expected keys with their values") for key in wrong)
            return {}
        if hydra["launcher"].get("_target_") in (LOCAL_LAUNCHER, ORCHESTRATOR_LAUNCHER):
            hydra["launcher"] = OmegaConf.to_container(cfg.launcher, resolve=True)
        if hydra["sweeper"].get("_target_") == SEARCHES:
            hydra["sweeper"] = OmegaConf.to_container(cfg.sweeper, resolve=True)
    except (*config_loader.CompositionError, BadInput):
        return {}  # reported with the jobs
    return dict(hydra)


def _hydra_choices_in_files(parsed: Sequence[Override], loader: Loader) -> list[Override]:
    """The sweeper and the launcher that a chosen option file, such as one of experiments, overrides.

    For Hydra the primary config, which overrides them as well, would count. Those that the command names are left out.
    """
    named = {o.key_or_group for o in parsed}
    chosen = (o for o in parsed if loader.is_choice(o) and not o.is_sweep_override())
    names = (f"{o.key_or_group}/{o.value()}" for o in chosen if isinstance(o.value(), str))
    entries = (entry for name in names for entry in _entries(name, loader) if getattr(entry, "override", False))
    found = {entry.group.lstrip("/"): entry.value for entry in entries}  # the last one of each group
    return [loader.parse(f"{g}={found[g]}") for g in (SWEEPER_GROUP, LAUNCHER_GROUP) if g in found and g not in named]


def _entries(name: str, loader: Loader) -> Sequence[Any]:
    """The defaults list of an option file; nothing if it cannot be read, which composing it reports."""
    try:
        file = loader.read(name)
    except BadInput:
        return ()
    return (file and file.defaults_list) or ()


def _non_mappings(hydra: Mapping[str, Any]) -> Iterator[str]:
    """The keys of Hydra's own config that have to be mappings and are not; Hydra does not check them."""
    for path in _MAPPINGS:
        part: Any = hydra
        for name in path.split("."):
            part = part.get(name) if isinstance(part, dict) else {}
        if not isinstance(part, dict) and not (part is None and path.endswith("params")):
            yield f"hydra.{path}"


def _sweeper_params(hydra: Mapping[str, Any], problems: list[Problem]) -> list[str]:
    """The overrides in ``hydra.sweeper.params``: key → values, as on the command line."""
    params = (hydra["sweeper"].get("params") if hydra else None) or {}
    if wrong := [key for key in params if str(key).lstrip("+~").partition(".")[0] == "packages"]:
        message, remedy = "only the command line allows packages", "Write packages=[…] there"
        problems.append(Problem(key=f"hydra.sweeper.params.{wrong[0]}", message=message, remedy=remedy))
    texts = {key: json.dumps(value) if isinstance(value, bool | None) else value for key, value in params.items()}
    return [f"{key}={value}" for key, value in texts.items() if key not in wrong]


def _is_constant(hydra: Mapping[str, Any]) -> bool:
    """Whether nothing in Hydra's own config has to be resolved when a run starts."""
    return bool(hydra) and (
        hydra["run"]["dir"] == hydra["sweep"]["dir"] == RUN_FOLDER
        and hydra["sweep"]["subdir"] == JOB_NUMBER
        and hydra["launcher"].get("_target_") == LOCAL_LAUNCHER
        and not (hydra["callbacks"] or hydra["job"]["env_set"] or hydra["job"]["env_copy"])
    )


def _wrong_sizes(overrides: Sequence[Override]) -> Iterator[Problem]:
    """Too many jobs, or lists with the same tag and different lengths."""
    lengths: dict[str, dict[str, int]] = {}
    for place, override in enumerate(overrides):
        if override.is_sweep_override():
            tag = override_grammar.tag_of(override) or f"\0{place}"
            lengths.setdefault(tag, {})[override.key_or_group] = override_grammar.size(override, MOST_JOBS)
    for tag, sizes in lengths.items():
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{key} has {n}" for key, n in sizes.items())
            message = f"lists with the tag '{tag}' are swept together, so they need the same length: {shown}"
            yield Problem(key=" ".join(sizes), message=message)
    if (size := prod(max(sizes.values()) for sizes in lengths.values())) > MOST_JOBS:
        yield Problem(key="--multirun", message=f"these are {size} jobs, more than {MOST_JOBS}")


def _jobs(
    numbered: Iterable[tuple[int, Sequence[Override]]],
    loader: Loader,
    keys: OverriddenKeys,
    composer: SweepComposer,
    problems: list[Problem],
    *,
    multirun: bool,
) -> Iterator[Job]:
    for number, job_overrides in numbered:
        try:
            composed = composer.compose(job_overrides, number if multirun else None)
        except config_loader.CompositionError as error:
            groups = [o for o in job_overrides if loader.is_choice(o)]
            found = in_defaults_list(error, loader, [f"{o.key_or_group}/{o.value()}" for o in groups])
            found = found or Problem(key=_group_in_error(error, groups), message=first_line(error))
            problems.append(replace(found, jobs=(number,)))
            continue
        except BadInput as error:
            problems += (replace(p, jobs=(number,)) for p in error.problems)
            continue
        problems += (replace(with_owners(p, composed.chosen, loader), jobs=(number,)) for p in composed.problems)
        lines = tuple(str(o.input_line) for o in job_overrides)
        yield Job(
            number=number,
            overrides=lines,
            stage=composed.chosen.get(STAGES) or last_op(composed.config, {s.name: s for s in loader.stages}) or HELP,
            config=composed.config,
            raw=composed.raw,
            faults=composed.faults,
            choices=composed.choices,
            values=composed.values,
            chosen=composed.chosen,
            combination=tuple(line for line in lines if not line.startswith(f"{STAGES}=")),
            overridden=keys.of(composed.chosen, composed.values),
            origins=Origins(lambda: loader, composed.choices, lines, Redactor()),
        )


def _group_in_error(error: BaseException, groups: Sequence[Override]) -> str:
    text = " ".join(str(e) for e in chain_of(error))
    named = (
        (
            o.key_or_group,
            (f"{o.key_or_group}/{o.value()}", o.get_key_element().lstrip("+~"), str(o.input_line).lstrip("+~")),
        )
        for o in groups
    )
    return next((key for key, names in named if any(f"'{name}'" in text for name in names)), "config")
