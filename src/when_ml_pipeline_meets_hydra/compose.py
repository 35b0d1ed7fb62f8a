"""Overrides → one composed config per job. Finds everything that is wrong with the overrides at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra import hydra_api
from when_ml_pipeline_meets_hydra.config_tree import HELP, STAGES, Stage
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.origins import Origins
from when_ml_pipeline_meets_hydra.secrets import Redactor

MISSING = "???"
_MASKS = Redactor()


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
    """All jobs of one command, and the stages that its search path knows."""

    jobs: tuple[Job, ...]
    stages: Mapping[str, Stage]
    loader: hydra_api.Loader


def compose(overrides: Sequence[str], *, multirun: bool = False, config_dirs: Sequence[str] = ()) -> Composed:
    """Compose one config per job.

    ``overrides`` follow Hydra's grammar; ``config_dirs`` are further folders of option files. Raises ``BadInput``
    with every override that does not parse, names no option or key, or sweeps without ``multirun``.
    """
    problems: list[Problem] = []
    loader = hydra_api.Loader([*config_dirs, *_search_path(overrides)])
    parsed = list(_parse(overrides, loader, problems))
    problems += [Problem(key="--config-dir", value=p, message="no such folder") for p in loader.unavailable()]
    stages = {stage.name: stage for stage in loader.stages}
    legal = [o for o in parsed if not _illegal(o, loader, multirun, problems)]
    jobs = list(_jobs(legal, loader, problems)) if not problems or legal else []
    if problems:
        raise BadInput(*dict.fromkeys(problems))
    return Composed(jobs=tuple(jobs), stages=stages, loader=loader)


def _parse(overrides: Iterable[str], loader: hydra_api.Loader, problems: list[Problem]) -> Iterator[Override]:
    for line in overrides:
        try:
            yield loader.parse(line)
        except hydra_api.CompositionError:
            key, equals, _ = line.partition("=")
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


def _illegal(override: Override, loader: hydra_api.Loader, multirun: bool, problems: list[Problem]) -> bool:
    """Append what is wrong with one override that parses; say whether it has to be left out."""
    before = len(problems)
    key = override.key_or_group
    if key == "hydra.searchpath":
        return True  # it has done its work
    if override.is_hydra_override():
        problems.append(Problem(key=key, message="of Hydra's own configuration only hydra.searchpath can be set"))
    elif override.is_sweep_override() and not multirun:
        shown = _MASKS.override(str(override.input_line)).partition("=")[2]
        remedy = "Add --multirun to run one job for each"
        remedy += "" if loader.is_group(key) else f", or write {key}=[…] for a list"
        problems.append(Problem(key=key, value=shown, message="several values need --multirun", remedy=remedy))
    elif override.is_sweep_override() and not override.is_discrete_sweep():
        message = "an interval is for a search; a sweep takes a list, range(…) or glob(…)"
        problems.append(Problem(key=key, message=message))
    elif loader.is_group(key) and (loader.options(key) or "/" in key):
        problems += _wrong_options(override, loader)
    elif "/" in key or override.package is not None:
        message = "there is no such config group"
        problems.append(Problem(key=key, message=message, remedy=did_you_mean(key, _filled_groups(loader))))
    return len(problems) > before


def _wrong_options(override: Override, loader: hydra_api.Loader) -> Iterator[Problem]:
    allowed = loader.options(override.key_or_group)
    for name in _chosen(override):
        if name not in allowed and not override.is_delete():
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
    for number, lines in enumerate(hydra_api.expand(overrides)):
        parsed = [hydra_api.parse(line) for line in lines]
        groups = [o for o in parsed if _is_choice(o, loader)]
        values = [o for o in parsed if o not in groups]
        choices = [str(o.input_line) for o in groups]
        try:
            cfg = loader.compose(choices)
        except hydra_api.CompositionError as error:
            problems.append(Problem(key=_blamed(error, groups), message=_first_line(error)))
            continue
        origins = Origins(loader, tuple(choices), tuple(lines), Redactor())
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
            problems.append(Problem(key=override.key_or_group, message=_first_line(error)))


def _unknown_key(override: Override, cfg: DictConfig) -> Problem | None:
    if override.is_add() or override.is_force_add():
        return None
    node: Any = cfg
    parts = override.key_or_group.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, ListConfig) and part.isdigit() and int(part) < len(node):
            node = node._get_node(int(part))
        elif isinstance(node, DictConfig) and part in _keys(node):
            node = node._get_node(part)
        else:
            place = ".".join(parts[:depth])
            known = [f"{place}.{k}" if place else k for k in (_keys(node) if isinstance(node, Container) else ())]
            wrong = ".".join(parts[: depth + 1])
            return Problem(
                key=override.key_or_group,
                message="there is no such key",
                remedy=_remedy(wrong, known),
            )
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
    chosen = plain.get(STAGES)
    return Job(
        number=number,
        overrides=tuple(lines),
        stage=str(chosen.get("name", HELP)) if isinstance(chosen, dict) else HELP,
        subcommands={k: str(v) for k, v in cfg.hydra.runtime.choices.items() if v and str(k).startswith(f"{STAGES}/")},
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
    except OmegaConfBaseException as error:
        faults[path] = _first_line(error)
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
    return next((o.key_or_group for o in groups if f"'{o.key_or_group}/{o.value()}'" in text), "config")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _first_line(error: BaseException) -> str:
    lines = chain.from_iterable(str(e).strip().splitlines() for e in _chain(error))
    return next((line for line in lines if line.strip()), type(error).__name__)
