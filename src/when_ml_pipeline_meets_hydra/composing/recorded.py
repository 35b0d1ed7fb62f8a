"""Jobs from configs that were composed before: those of a record, or of a YAML file that a run has logged.

Option files have no part in the values, only in Hydra's own config and in the order of the stages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing import interpolations, limits, resolvers
from when_ml_pipeline_meets_hydra.composing.compose import compose_with_problems
from when_ml_pipeline_meets_hydra.composing.config_loader import CompositionError, Loader
from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable
from when_ml_pipeline_meets_hydra.composing.job import VALUE_NEEDED, Composed, Job
from when_ml_pipeline_meets_hydra.composing.job_file import last_op
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.composing.tree import STAGES, Stage, broken_file, folder_of, is_job_file
from when_ml_pipeline_meets_hydra.composing.values import MISSING, plain, set_value
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import MASK, Redactor

NOT_KEPT = "a secret, which no record keeps"
_TOP = re.compile(r"[.\[]")


@dataclass(frozen=True, kw_only=True)
class RecordedJob:
    """The config of a job, resolved, with secrets masked.

    ``overrides`` and ``choices`` (group → option) are those it was composed from; jobs with the same number in
    ``combination`` differ in their stage only. ``variables`` names the environment variables of masked values by key.
    """

    number: int
    stage: str
    config: Mapping[str, Any]
    combination: int = 0
    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The jobs that a rerun repeats.

    ``source`` is the id of their run, or the file with their config; ``place`` names it in messages. ``overrides`` set
    values in all of them, and choose Hydra's own options.
    """

    jobs: tuple[RecordedJob, ...]
    source: str
    place: str
    overrides: tuple[str, ...] = ()


def recompose(recorded: Recorded, config_dirs: Sequence[str] = ()) -> Composed:
    """Make the jobs of recorded configs.

    Folders that are not there any more are left out. Raises ``BadInput`` for an override that cannot be set in a
    composed config.
    """
    folders = [entry for entry in config_dirs if is_job_file(entry) or _is_there(entry)]
    own = [line for line in recorded.overrides if line.lstrip("+~").startswith("hydra")]
    helper = _helper(own, folders)
    loader = helper.loader()
    values = list(_values([line for line in recorded.overrides if line not in own], loader))
    made = tuple(_Maker(loader, values, helper.jobs[0], recorded.place).jobs(recorded.jobs))
    stages = {**helper.stages, **_missing_stages(made, helper.stages)}
    return replace(helper, jobs=made, stages=stages, is_constant=False)


def _is_there(entry: str) -> bool:
    folder = folder_of(entry)
    return folder is None or folder.is_dir()


def _helper(own: Sequence[str], folders: Sequence[str]) -> Composed:
    """Compose Hydra's own config, without option files that are gone or broken."""
    try:
        helper = compose_with_problems(own, config_dirs=folders)
    except BadInput:  # of a job file
        return compose_with_problems(own).without_problems()
    return compose_with_problems(own).without_problems() if helper.problems or not helper.jobs else helper


def read_logged(file: Path) -> RecordedJob:
    """Read the config of one job from a YAML file, such as ``.hydra/config.yaml`` or the output of ``--cfg job``.

    Interpolations are resolved. Raises ``BadInput`` if the file is none, such as the ``multirun.yaml`` of a sweep.
    """
    try:
        limits.check_file(file)
        content = OmegaConf.load(file)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise BadInput(broken_file(str(file), file, error)) from error
    except RecursionError as error:
        raise BadInput(broken_file(str(file), file, ValueError("it is nested too deeply"))) from error
    if not isinstance(content, DictConfig) or not (_stage(content) or last_op(content, {})):
        raise BadInput(_no_job(file, "is not the config of a job: it has no c.name, and no ops"))
    if str(OmegaConf.select(content, "hydra.mode")).endswith("MULTIRUN") and _has_no_number(content):
        raise BadInput(_no_job(file, "is the config that the jobs of a sweep share, not that of one job"))
    resolvers.register()
    interpolations.install()
    faults: dict[str, str] = {}
    config = {}
    for top in map(str, content):
        if top != "hydra":
            with interpolations.limited_interpolations(top):
                config[top] = plain(content, top, top, faults)
    return RecordedJob(number=0, stage=_stage(content) or last_op(config, {}) or "", config=config)


def _stage(content: DictConfig) -> str | None:
    name = OmegaConf.select(content, f"{STAGES}.name")
    return name if isinstance(name, str) else None


def _has_no_number(content: DictConfig) -> bool:
    job = OmegaConf.select(content, "hydra.job")
    return not isinstance(job, DictConfig) or "num" not in job or OmegaConf.is_missing(job, "num")


def _no_job(file: Path, message: str) -> Problem:
    """The problem of a file that is not the config of one job, and what to give instead."""
    beside = file.with_name("config.yaml")
    if file.parent.name == ".hydra" and file != beside and beside.is_file():
        remedy = f"Give {beside}"
    else:
        remedy = "Give .hydra/config.yaml of a job, or the output of --cfg job"
    folders = file.absolute().parents[:3]
    if run := next((folder.name for folder in folders if (folder / "run.json").is_file()), None):
        remedy += f", or repeat the whole run: runs rerun {run}"
    return Problem(key=str(file), message=message, remedy=remedy)


def _values(lines: Iterable[str], loader: Loader) -> Iterator[Override]:
    """Parse overrides of values. Raises ``BadInput`` with all that are not."""
    problems = []
    for line in lines:
        key = line.partition("=")[0].lstrip("+~")
        parsed = _parsed(line, loader)
        if isinstance(parsed, Problem):
            problems.append(parsed)
        elif loader.is_choice(parsed):
            message = "an option cannot be chosen in a config that is composed already"
            problems.append(
                Problem(key=key, message=message, remedy="Set single values, or compose anew: --as-written")
            )
        elif parsed.is_sweep_override():
            problems.append(Problem(key=key, message="a rerun takes one value"))
        else:
            yield parsed
    if problems:
        raise BadInput(*problems)


def _parsed(line: str, loader: Loader) -> Override | Problem:
    try:
        return loader.parse(line)
    except (*CompositionError, ValueError):
        return Problem(key=line.partition("=")[0].lstrip("+~"), message="this does not follow Hydra's grammar")


class _Maker:
    """Makes jobs; equal parts of their configs become one object, so that they are bound once."""

    def __init__(self, loader: Loader, values: Sequence[Override], helper: Job, place: str) -> None:
        self._loader, self._values, self._helper, self._place = loader, values, helper, place
        self._parts: dict[str, Any] = {}

    def jobs(self, recorded: Iterable[RecordedJob]) -> Iterator[Job]:
        problems: list[Problem] = []
        for job in recorded:
            yield self._job(job, problems)
        if problems:
            raise BadInput(*dict.fromkeys(problems))

    def _job(self, recorded: RecordedJob, problems: list[Problem]) -> Job:
        config, faults = _unmasked(recorded)
        raw = _with_variables(recorded) if recorded.variables else None
        if self._values:
            config, faults = self._changed(config, faults, problems)
        config = {key: self._shared(key, part) for key, part in config.items()}
        lines = tuple(str(value.input_line) for value in self._values)
        keys = {value.key_or_group for value in self._values}
        kept = [line for line in recorded.overrides if line.partition("=")[0].lstrip("+~") not in keys]
        own = {group: name for group, name in self._helper.chosen.items() if group.startswith("hydra")}
        return Job(
            number=recorded.number,
            overrides=(*kept, *lines),
            stage=recorded.stage,
            config=config,
            raw=raw or config,
            faults=faults,
            combination=(str(recorded.combination),),
            choices=(),
            values=lines,
            chosen={STAGES: recorded.stage, **recorded.choices, **own},
            overridden=None,
            origins=_RecordedOrigins(self._loader, lines, self._place),
        )

    def _changed(
        self, config: Mapping[str, Any], faults: Mapping[str, str], problems: list[Problem]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The config and its faults with the values of the overrides."""
        cfg = OmegaConf.create(dict(config))
        problems += filter(None, [set_value(value, cfg, self._loader) for value in self._values])
        tops = {_TOP.split(value.key_or_group, maxsplit=1)[0] for value in self._values}
        new: dict[str, str] = {}
        changed = {top: plain(cfg, top, top, new) for top in tops if top in cfg}
        others = {key: fault for key, fault in faults.items() if _TOP.split(key, maxsplit=1)[0] not in tops}
        kept = {key: part for key, part in config.items() if key not in tops}
        return {**kept, **changed}, {**others, **{key: faults.get(key, fault) for key, fault in new.items()}}

    def _shared(self, key: str, part: Any) -> Any:
        return self._parts.setdefault(f"{key} {json.dumps(part, sort_keys=True, default=str)}", part)


class _RecordedOrigins(Origins):
    """All values that are not overridden come from one place."""

    def __init__(self, loader: Loader, overrides: Sequence[str], place: str) -> None:
        super().__init__(lambda: loader, (), overrides, Redactor())
        self._place = place

    def header_fix(self, key: str) -> str | None:
        return None

    def _file_and_line(self, key: str) -> str | None:
        return self._place


def _unmasked(recorded: RecordedJob) -> tuple[dict[str, Any], dict[str, str]]:
    """The config with masked values read from the environment variables that they came from, and its faults."""
    faults: dict[str, str] = {}

    def unmasked(path: str, masked: str) -> str:
        name = recorded.variables.get(path) if masked == MASK else None
        if name and (value := variable(name)) is not None:
            return value
        faults[path] = f"the environment variable {name} is not set" if name else NOT_KEPT
        return MISSING

    def missing(path: str) -> str:
        faults[path] = VALUE_NEEDED
        return MISSING

    def leaf(path: str, node: Any) -> Any:
        is_masked = isinstance(node, str) and MASK in node
        return missing(path) if node == MISSING else unmasked(path, node) if is_masked else node

    return {key: _mapped(part, key, leaf) for key, part in recorded.config.items()}, faults


def _with_variables(recorded: RecordedJob) -> dict[str, Any]:
    """The config with the names of environment variables in place of the masked values that they gave."""
    names = recorded.variables

    def leaf(path: str, node: Any) -> Any:
        return f"${{oc.env:{names[path]}}}" if node == MASK and path in names else node

    return {key: _mapped(part, key, leaf) for key, part in recorded.config.items()}


def _mapped(node: Any, path: str, leaf: Callable[[str, Any], Any]) -> Any:
    if isinstance(node, Mapping):
        return {key: _mapped(value, f"{path}.{key}", leaf) for key, value in node.items()}
    if isinstance(node, list):
        return [_mapped(value, f"{path}[{n}]", leaf) for n, value in enumerate(node)]
    return leaf(path, node)


def _missing_stages(jobs: Iterable[Job], known: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages that no option file describes any more, but the configs have subcommands of."""
    found: dict[str, Stage] = {}
    for job in jobs:
        for key, part in job.config.items():
            name = key.removesuffix("_sub")
            if name != key and name not in known and isinstance(part, Mapping) and "_target_" in part:
                found[name] = Stage(name=name)
    return found
