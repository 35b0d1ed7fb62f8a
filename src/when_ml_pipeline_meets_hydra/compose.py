"""Overrides → one composed config per job. Finds everything that is wrong with the overrides at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import prod
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from when_ml_pipeline_meets_hydra import hydra_api
from when_ml_pipeline_meets_hydra.config_tree import HELP, STAGES, Stage, folder_of
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.hydra_api import HydraException, Override, QuotedString
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.origins import Origins

MISSING = "???"
MOST_JOBS = 100_000
FOLLOWS = "it is made from a key that has no value"
NO_SUCH_KEY = "there is no such key"
_NO_VARIABLE = re.compile(r".*Environment variable '([^']*)' not found.*")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One composed config.

    ``config`` is plain and resolved; ``faults`` says for each key that has no value why (mandatory and not given,
    or an interpolation that leads nowhere). Jobs with equal ``combination`` differ in their stage only.
    ``choices`` and ``values`` are the overrides of groups and of keys; ``subcommands`` maps the group of a stage's
    subcommands (``c/modeling_sub``) to the option that was chosen.
    """

    number: int
    overrides: tuple[str, ...]
    stage: str
    subcommands: Mapping[str, str]
    config: Mapping[str, Any]
    faults: Mapping[str, str]
    combination: tuple[str, ...]
    choices: tuple[str, ...]
    values: tuple[str, ...]
    origins: Origins = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """All jobs of one command, and the stages that its search path knows.

    ``problems`` is what is wrong with the overrides; the jobs are then composed as far as it goes, so that what is
    wrong with their values can be said as well. ``spoiled`` are the keys whose option is not the one asked for.
    """

    jobs: tuple[Job, ...]
    stages: Mapping[str, Stage]
    loader: hydra_api.Loader
    problems: tuple[Problem, ...] = ()
    spoiled: frozenset[str] = frozenset()


def compose(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str] = ()) -> Composed:
    """Compose one config per job.

    ``overrides`` follow Hydra's grammar; ``config_dirs`` are further folders of option files. Raises ``BadInput``
    with every override that does not parse, names no option or key, or sweeps without ``multirun``.
    """
    composed = compose_as_far_as_it_goes(overrides, multirun=multirun, config_dirs=config_dirs)
    if composed.problems:
        raise BadInput(*composed.problems)
    return composed


def compose_as_far_as_it_goes(
    overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str] = ()
) -> Composed:
    """Compose one config per job, without the overrides that are wrong; these are in ``problems``."""
    problems: list[Problem] = []
    loader = hydra_api.Loader([*config_dirs, *_search_path(overrides)])
    parsed = list(_parse(overrides, loader, problems))
    problems += [_no_folder(path, config_dirs) for path in loader.unavailable()]
    stages = {stage.name: stage for stage in loader.stages}
    legal = [o for o in parsed if not _illegal(o, loader, problems)]
    spoiled = frozenset(loader.package(p.key) for p in problems if loader.is_group(p.key))
    problems += [] if multirun else [_needs_multirun(o, loader) for o in legal if o.is_sweep_override()]
    jobs = [] if STAGES in spoiled else list(_jobs(legal, loader, problems))
    told = (p for p in problems if p.message != NO_SUCH_KEY or p.key.partition(".")[0] not in spoiled)
    said = tuple(dict.fromkeys(told))
    return Composed(jobs=tuple(jobs), stages=stages, loader=loader, problems=said, spoiled=spoiled)


def _parse(overrides: Iterable[str], loader: hydra_api.Loader, problems: list[Problem]) -> Iterator[Override]:
    for line in overrides:
        key, equals, _ = line.partition("=")
        try:
            if not key.lstrip("+~") or "\0" in line:
                raise HydraException(line)
            yield loader.parse(line)
        except hydra_api.CompositionError:
            problems.append(
                Problem(
                    key=key,
                    message="this does not follow Hydra's grammar" if equals else "neither a command nor key=value",
                    remedy="Quote values with special characters: key='\"a b\"'" if equals else "See --help",
                )
            )


def _search_path(overrides: Iterable[str]) -> list[str]:
    """What ``hydra.searchpath=[…]`` names; it has to be known before the groups are."""
    lines = [o for o in overrides if o.lstrip("+").startswith("hydra.searchpath=")]
    try:
        values = [hydra_api.parse(line).value() for line in lines]
    except hydra_api.CompositionError:
        return []  # reported with the other overrides
    return [str(entry) for value in values for entry in (value if isinstance(value, list) else [value])]


def _no_folder(path: str, config_dirs: Sequence[str]) -> Problem:
    key = "--config-dir" if path in [str(folder_of(entry)) for entry in config_dirs] else "hydra.searchpath"
    return Problem(key=key, value=path, message="no such folder")


def _needs_multirun(override: Override, loader: hydra_api.Loader) -> Problem:
    key, remedy = override.key_or_group, "Add --multirun to run one job for each"
    if not loader.is_group(key):  # its value is not shown: it may be a secret
        remedy += f", or write {key}=[…] for a list"
        return Problem(key=key, message="several values need --multirun", remedy=remedy)
    shown = str(override.input_line).partition("=")[2]
    return Problem(key=key, value=shown, message="several values need --multirun", remedy=remedy)


def _illegal(override: Override, loader: hydra_api.Loader, problems: list[Problem]) -> bool:
    """Append what is wrong with one override that parses; say whether it has to be left out."""
    before = len(problems)
    key = override.key_or_group
    if key == "hydra.searchpath":
        return True  # it has done its work
    if override.is_hydra_override():
        problems.append(Problem(key=key, message="of Hydra's own configuration only hydra.searchpath can be set"))
    elif override.is_sweep_override() and not override.is_discrete_sweep():
        message = "an interval is for a search; a sweep takes a list, range(…) or glob(…)"
        problems.append(Problem(key=key, message=message))
    elif override.is_sweep_override() and not 0 < (size := _size(override)) <= MOST_JOBS:
        problems.append(Problem(key=key, message=f"makes {f'more than {MOST_JOBS} jobs' if size else 'no job'}"))
    elif key.partition("/")[0] == STAGES and isinstance(override.value(), list):
        remedy = f"For one job each write {key}={','.join(_chosen(override))} --multirun"
        problems.append(Problem(key=key, message="takes one name, no list", remedy=remedy))
    elif loader.is_group(key) and (loader.options(key) or "/" in key):
        problems += _wrong_options(override, loader)
    elif "/" in key or override.package is not None:
        message = "there is no such config group"
        problems.append(Problem(key=key, message=message, remedy=did_you_mean(key, _filled_groups(loader))))
    return len(problems) > before


def _size(override: Override) -> int:
    """How many values a sweep has; it stops counting where there are too many."""
    return sum(1 for _ in islice(override.sweep_iterator(), MOST_JOBS + 1))


def _wrong_options(override: Override, loader: hydra_api.Loader) -> Iterator[Problem]:
    allowed = loader.options(override.key_or_group)
    for name in _chosen(override):
        if name not in allowed and not (override.is_delete() and override.value() is None):
            yield Problem(
                key=override.key_or_group,
                value=name,
                message="there is no such option",
                origin=f"the override {override.input_line}",
                remedy=did_you_mean(name, allowed, most=3) if allowed else "The group has no options",
            )


def _chosen(override: Override) -> Iterator[str]:
    """The options that a group override names, over all values of a sweep."""
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    for value in values:
        for name in value if isinstance(value, list) else [value]:
            yield name.text if isinstance(name, QuotedString) else str(name)


def _filled_groups(loader: hydra_api.Loader) -> list[str]:
    return [g for g in loader.groups() if not g.startswith("hydra") and loader.options(g)]


def _jobs(overrides: Sequence[Override], loader: hydra_api.Loader, problems: list[Problem]) -> Iterator[Job]:
    if (size := prod(_size(o) for o in overrides if o.is_sweep_override())) > MOST_JOBS:
        problems.append(Problem(key="--multirun", message=f"these are {size} jobs, more than {MOST_JOBS}"))
        return
    for number, lines in enumerate(hydra_api.expand(overrides)):
        parsed = [hydra_api.parse(line) for line in lines]
        groups = [o for o in parsed if _is_choice(o, loader)]
        values = [o for o in parsed if o not in groups]
        try:
            choices = loader.placed([str(o.input_line) for o in groups])
            cfg = loader.compose(choices)
        except hydra_api.CompositionError as error:
            problems.append(Problem(key=_blamed(error, groups), message=_first_line(error)))
            continue
        except BadInput as error:
            problems += error.problems
            continue
        origins = Origins(loader, choices, tuple(lines), Redactor())
        problems += origins.misplaced()
        _set_values(values, cfg, loader, problems)
        yield _job(number, lines, [str(o.input_line) for o in values], cfg, origins)


def _is_choice(override: Override, loader: hydra_api.Loader) -> bool:
    return loader.is_group(override.key_or_group) and not isinstance(override.value(), dict)


def _set_values(values: list[Override], cfg: DictConfig, loader: hydra_api.Loader, problems: list[Problem]) -> None:
    for override in values:
        if unknown := _unknown_key(override, cfg):
            problems.append(unknown)
            continue
        try:
            loader.apply([override], cfg)
        except hydra_api.CompositionError as error:
            # Its own words may hold the value, which may be a secret.
            problems.append(Problem(key=override.key_or_group, message=_first_line(list(_chain(error))[-1])))


def _unknown_key(override: Override, cfg: DictConfig) -> Problem | None:
    if override.is_add() or override.is_force_add():
        return None
    value = None if override.is_delete() else override.value()
    unknown = (_unknown(key, cfg) for key in _named_keys(override.key_or_group, value))
    return next(filter(None, unknown), None)


def _named_keys(key: str, value: Any) -> Iterator[str]:
    """The keys that an override sets: ``cluster={id: a, pw: b}`` sets two."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _named_keys(f"{key}.{name}", inner)
    else:
        yield key


def _unknown(key: str, cfg: DictConfig) -> Problem | None:
    node: Any = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, ListConfig) and part.isdigit() and int(part) < len(node):
            node = node._get_node(int(part))
        elif isinstance(node, DictConfig) and part in _keys(node):
            node = node._get_node(part)
        else:
            place = ".".join(parts[:depth])
            known = [f"{place}.{k}" if place else k for k in (_keys(node) if isinstance(node, Container) else ())]
            wrong = ".".join(parts[: depth + 1])
            return Problem(key=key, message=NO_SUCH_KEY, remedy=_remedy(wrong, known))
    return None


def _remedy(wrong: str, known: list[str]) -> str | None:
    shown = [k for k in known if k != "hydra" and not k.endswith("._target_") and not k.endswith("_sub")]
    return did_you_mean(wrong, shown)


def _keys(node: Container) -> list[str]:
    if not isinstance(node, DictConfig) or node._is_missing() or node._is_none() or node._is_interpolation():
        return []
    return [str(k) for k in node]


def _job(
    number: int,
    lines: Sequence[str],
    values: Sequence[str],
    cfg: DictConfig,
    origins: Origins,
) -> Job:
    faults: dict[str, str] = {}
    plain = {str(k): _plain(cfg, str(k), str(k), faults) for k in cfg if k != "hydra"}
    chosen = {str(group): str(option) for group, option in cfg.hydra.runtime.choices.items() if option}
    return Job(
        number=number,
        overrides=tuple(lines),
        stage=chosen.get(STAGES, HELP),
        subcommands={k: v for k, v in chosen.items() if k.startswith(f"{STAGES}/")},
        config=plain,
        faults=faults,
        choices=origins.choices,
        values=tuple(values),
        combination=tuple(line for line in lines if not line.startswith(f"{STAGES}=")),
        origins=origins,
    )


def _plain(parent: Container, key: Any, path: str, faults: dict[str, str]) -> Any:
    """One node as plain values; what cannot be resolved is noted and stands as ``???``."""
    try:
        value = parent[key] if not OmegaConf.is_missing(parent, key) else MISSING
    except InterpolationToMissingValueError:
        faults[path] = FOLLOWS
        return MISSING
    except OmegaConfBaseException as error:
        faults[path] = _NO_VARIABLE.sub(r"the environment variable \1 is not set", _first_line(error))
        return MISSING
    if isinstance(value, DictConfig):
        return {str(k): _plain(value, k, f"{path}.{k!s}", faults) for k in value}
    if isinstance(value, ListConfig):
        return [_plain(value, i, f"{path}[{i}]", faults) for i in range(len(value))]
    if value == MISSING:
        faults[path] = "a value is needed"
    return value


def _blamed(error: BaseException, groups: Sequence[Override]) -> str:
    text = " ".join(str(e) for e in _chain(error))
    named = ((o.key_or_group, (f"{o.key_or_group}/{o.value()}", o.get_key_element().lstrip("+~"))) for o in groups)
    return next((key for key, names in named if any(f"'{name}'" in text for name in names)), "config")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _first_line(error: BaseException) -> str:
    lines = chain.from_iterable(str(e).strip().splitlines() for e in _chain(error))
    return next((line for line in lines if line.strip()), type(error).__name__)
