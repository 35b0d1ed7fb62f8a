"""Composes one config per job from overrides, and reports every invalid override at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from omegaconf import OmegaConf

from when_ml_pipeline_meets_hydra.composing import config_loader, override_grammar, plugins
from when_ml_pipeline_meets_hydra.composing.config_loader import HydraException, Loader
from when_ml_pipeline_meets_hydra.composing.foreign_keys import foreign_keys
from when_ml_pipeline_meets_hydra.composing.job import (
    JOB_NUMBER,
    LOCAL_LAUNCHER,
    NO_SUCH_KEY,
    RUN_FOLDER,
    Composed,
    Job,
)
from when_ml_pipeline_meets_hydra.composing.origins import Origins, OverriddenKeys
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.composing.sweep import SweepComposer
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES, folder_of
from when_ml_pipeline_meets_hydra.composing.values import chain_of, first_line
from when_ml_pipeline_meets_hydra.composing.wrong_names import (
    in_defaults_list,
    option_without_group,
    with_owners,
    wrong_options,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean, merged
from when_ml_pipeline_meets_hydra.masking import Redactor

MOST_JOBS = 100_000
SWEEPER = "plan"
_MAPPINGS = (
    *("run", "sweep", "runtime", "overrides", "job", "job.config", "job.config.override_dirname"),
    *("launcher", "sweeper", "sweeper.params"),
)
# The signatures of Hydra's sweep functions.
_SWEEP_SIGNATURES = {
    "choice": "choice(a,b,…)",
    "glob": "glob(pattern) or glob([pattern,…],exclude=[pattern,…])",
    "interval": "interval(start,end)",
    "range": "range(stop), range(start,stop) or range(start,stop,step), with numbers",
    "shuffle": "shuffle(a,b,…) or shuffle(range(…))",
    "sort": "sort(a,b,…) or sort(a,b,…,reverse=true), with values of one kind",
    "tag": "tag(name,choice(a,b,…)) or tag(name,range(…))",
}


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
    problems: list[Problem] = []
    folders = (*config_dirs, *override_grammar.search_path(overrides))
    loader = Loader(folders)
    stages = {stage.name: stage for stage in loader.stages}
    parsed = list(_parse(overrides, loader, problems))
    legal = [o for o in parsed if not _is_illegal(o, loader, problems)]
    problems += [_no_folder(path, config_dirs) for path in loader.unavailable()]
    hydra_values = [o for o in legal if o.is_hydra_override() and not loader.is_choice(o)]
    composer = SweepComposer(loader, hydra_values)
    fixed = [o for o in legal if loader.is_choice(o) and not o.is_sweep_override()]
    hydra = _hydra(composer, fixed, problems)
    if multirun:
        more = _parse(_sweeper_params(hydra, problems), loader, problems)
        legal = [*(o for o in more if not _is_illegal(o, loader, problems)), *legal]
    else:
        problems += [_needs_multirun(o, loader) for o in legal if o.is_sweep_override()]
    job_overrides = [o for o in legal if o not in hydra_values]
    invalid = frozenset(loader.package(p.key) for p in problems if loader.is_group(p.key))
    problems += (unfit := list(_wrong_sizes(job_overrides)))
    runnable = STAGES not in invalid and not unfit
    jobs = list(_jobs(job_overrides, loader, composer, problems, multirun=multirun)) if runnable else []
    reported = (p for p in problems if p.message != NO_SUCH_KEY or p.key.partition(".")[0] not in invalid)
    return Composed(
        jobs=tuple(jobs),
        stages=stages,
        loader=lambda: loader,
        hydra=hydra,
        folders=folders,
        search_path=loader.search_path,
        is_constant=composer.is_constant and _is_constant(hydra) and not any(map(override_grammar.is_shuffled, legal)),
        notes=plugins.left_out(),
        foreign=foreign_keys(jobs, loader),
        problems=merged(reported),
        invalid_choices=invalid,
    )


def _hydra(composer: SweepComposer, choices: Sequence[Override], problems: list[Problem]) -> Mapping[str, Any]:
    """Hydra's own config, unresolved but for our own launcher's part; empty where it cannot be composed."""
    try:
        cfg = composer.whole(choices).hydra
        hydra: Any = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
        if wrong := list(_non_mappings(hydra)):
            problems += (Problem(key=key, message="expected keys with their values") for key in wrong)
            return {}
        if hydra["launcher"].get("_target_") == LOCAL_LAUNCHER:
            hydra["launcher"] = OmegaConf.to_container(cfg.launcher, resolve=True)
    except (*config_loader.CompositionError, BadInput):
        return {}  # reported with the jobs
    return dict(hydra)


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


def _parse(overrides: Iterable[str], loader: Loader, problems: list[Problem]) -> Iterator[Override]:
    for line in overrides:
        key, equals, value = line.partition("=")
        try:
            if not key.lstrip("+~") or "\0" in line:
                raise HydraException(line)
            yield loader.parse(line)
        except (*config_loader.CompositionError, ValueError):  # ValueError: a number of thousands of digits
            problems.append(
                Problem(
                    key=key.lstrip("+~") or key,
                    message="this does not follow Hydra's grammar" if equals else "neither a command nor key=value",
                    remedy=_how_to_write(key, value) if equals else "See --help",
                )
            )


def _how_to_write(key: str, value: str) -> str:
    """The remedy for a value that does not follow the grammar, without the value: it may be a secret."""
    sweep = _SWEEP_SIGNATURES.get(value.partition("(")[0].strip())
    if sweep:
        return f"Write {sweep}"
    return f"Quote values with special characters, also letters such as ä: '{key}=\"…\"'"


def _no_folder(path: str, config_dirs: Sequence[str]) -> Problem:
    is_flag = any(path in (entry, str(folder_of(entry))) for entry in config_dirs)
    key = "--config-dir" if is_flag else override_grammar.SEARCH_PATH
    if path.startswith("structured://"):
        message, remedy = "its options are made by code, which would be imported", "Write them into files of a folder"
        return Problem(key=key, value=path, message=message, remedy=remedy)
    return Problem(key=key, value=path, message="no such folder")


def _needs_multirun(override: Override, loader: Loader) -> Problem:
    key, remedy = override.key_or_group, "Add --multirun to run one job for each"
    if not loader.is_group(key):  # the value is not shown: it may be a secret
        remedy += f", or write {key}=[…] for a list"
        return Problem(key=key, message="several values need --multirun", remedy=remedy)
    shown = str(override.input_line).partition("=")[2]
    return Problem(key=key, value=shown, message="several values need --multirun", remedy=remedy)


def _is_illegal(override: Override, loader: Loader, problems: list[Problem]) -> bool:
    """Append the problems of one parsed override; True where it must not be composed."""
    before = len(problems)
    key = override.key_or_group
    if key == override_grammar.SEARCH_PATH and (override.is_delete() or override_grammar.names_folders(override)):
        return True  # it is in the loader already
    if key == override_grammar.SEARCH_PATH:
        problems.append(Problem(key=key, message="expected a list of folders", remedy=f"Write {key}=[DIR,DIR]"))
    elif override.is_hydra_override() and (forbidden := _forbidden(override)):
        problems.append(Problem(key=key, message=forbidden[0], remedy=forbidden[1]))
    elif override.is_sweep_override() and not override.is_discrete_sweep():
        message = "an interval is for a search; a sweep takes a list, range(…) or glob(…)"
        problems.append(Problem(key=key, message=message))
    elif override_grammar.has_nested_sweep(override):
        message = "a sweep cannot be inside a list or another function"
        problems.append(Problem(key=key, message=message))
    elif override.is_sweep_override() and (wrong_size := _wrong_size(override, loader)):
        problems.append(Problem(key=key, message=wrong_size))
    elif key.partition("/")[0] == STAGES and isinstance(override.value(), list):
        remedy = f"For one job each write {key}={','.join(override_grammar.names(override))} --multirun"
        problems.append(Problem(key=key, message="takes one name, not a list", remedy=remedy))
    elif override.is_delete() and loader.is_choice(override) and not isinstance(override.value(), str | None):
        message = "a deletion takes the name of one option, or none"
        problems.append(Problem(key=key, message=message, remedy=f"Write ~{key}"))
    elif loader.is_group(key) and (loader.options(key) or "/" in key or loader.is_choice(override)):
        problems += wrong_options(override, loader)
    elif "/" in key or override.package is not None:
        message = "there is no such config group"
        problems.append(Problem(key=key, message=message, remedy=did_you_mean(key, _filled_groups(loader))))
    elif unchosen := option_without_group(override, loader):
        problems.append(unchosen)
    return len(problems) > before


def _forbidden(override: Override) -> tuple[str, str | None] | None:
    """The message and remedy for an override of Hydra's own config that is not supported."""
    key = override.key_or_group
    if override.is_sweep_override():
        return "is the same for all jobs, so it cannot be swept", None
    if key == "hydra/sweeper" and override.value() != SWEEPER:
        return f"sweeps are planned as a whole, which only '{SWEEPER}' does", f"Leave it out, or write {key}={SWEEPER}"
    if key == "hydra.mode":
        return "is set by a flag", "Add --multirun, or leave it out"
    return None


def _wrong_size(override: Override, loader: Loader) -> str | None:
    """The message for a sweep that has no values, or too many."""
    try:
        size = override_grammar.size(override, MOST_JOBS)
    except ValueError:
        return "a range goes from number to number, in steps that are not 0"
    if size == 0 and override_grammar.is_glob(override):
        is_group = loader.is_group(override.key_or_group)
        return "no option matches the glob(…)" if is_group else "glob(…) is for the options of a group"
    if 0 < size <= MOST_JOBS:
        return None
    return f"makes more than {MOST_JOBS} jobs" if size else "makes no job"


def _filled_groups(loader: Loader) -> list[str]:
    return [g for g in loader.groups() if not g.startswith("hydra") and loader.options(g)]


def _jobs(
    overrides: Sequence[Override], loader: Loader, composer: SweepComposer, problems: list[Problem], *, multirun: bool
) -> Iterator[Job]:
    keys = OverriddenKeys(loader)
    for number, job_overrides in enumerate(override_grammar.expand(overrides)):
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
            stage=composed.chosen.get(STAGES, HELP),
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
    problems += composer.problems()


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
