"""A job file: a user's primary config in place of the program's, with the config of each stage at ``ops.<stage>``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.composing.job import OPS
from when_ml_pipeline_meets_hydra.composing.origins import line_of_default
from when_ml_pipeline_meets_hydra.composing.tree import Stage, broken_file, folder_of, is_job_file, load_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean

CONFIG_NAME = "config"  # of the program's own primary config
FLAG = "--config-name"


def job_file(search_path: Iterable[str]) -> Path | None:
    """Return the job file among the entries of a search path."""
    return next((Path(entry) for entry in search_path if is_job_file(entry)), None)


def named_job_file(name: str, config_dirs: Sequence[str]) -> str:
    """Return the path of the job file ``name`` (with or without ``.yaml``) in one of the folders.

    Raises ``BadInput`` if there is none, or if it is named by a folder further up from which its defaults do not
    resolve.
    """
    name = name.removesuffix(".yaml")
    folders = [folder for entry in config_dirs if (folder := folder_of(entry)) is not None]
    files = [folder / f"{name}.yaml" for folder in folders]
    if not (found := next((file for file in files if file.is_file()), None)):
        raise BadInput(_no_job_file(name, folders))
    if "/" in name:
        _check_relative_defaults(found, name)
    return str(found)


def _no_job_file(name: str, folders: Sequence[Path]) -> Problem:
    if not folders:
        remedy = "Add --config-dir with the folder that holds the file"
        return Problem(key=FLAG, value=name, message="is a file in the folder of --config-dir", remedy=remedy)
    known = [file.stem for folder in folders for file in sorted(folder.glob("*.yaml"))]
    message = f"there is no {name}.yaml in {', '.join(map(str, folders))}"
    return Problem(key=FLAG, value=name, message=message, remedy=did_you_mean(name, known) if known else None)


def _check_relative_defaults(file: Path, name: str) -> None:
    """Raise ``BadInput`` for the entries of a defaults list that are relative to a folder in which they are not."""
    wrong = [
        Problem(
            key=FLAG,
            value=name,
            message=f"its default {entry} is relative to its own folder, and there is no {file.parent / group}",
            origin=f"{file}, line {line}" if (line := line_of_default(file, group)) else str(file),
            remedy=f"Name that folder: --config-dir {file.parent} {FLAG} {file.stem}",
        )
        for entry, group in _relative_groups(_content(file).get("defaults"))
        if not (file.parent / group).is_dir()
    ]
    if wrong:
        raise BadInput(*wrong)


def _relative_groups(defaults: Any) -> Iterable[tuple[str, str]]:
    """The entries ``group@package: option`` of a defaults list that do not begin with a slash, and their groups."""
    for item in defaults if isinstance(defaults, list) else ():
        for key in item if isinstance(item, dict) else ():
            group = str(key).removeprefix("optional ").partition("@")[0]
            if not group.startswith(("/", "override ")):
                yield str(key), group


def own_search_path(file: Path) -> list[str]:
    """Return the entries of ``hydra.searchpath`` in a job file, with its interpolations resolved."""
    hydra = _content(file).get("hydra")
    entries = hydra.get("searchpath") if isinstance(hydra, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        if entries is None:
            return []
        raise BadInput(Problem(key="hydra.searchpath", message="expected a list of folders", origin=str(file)))
    if not any("${" in entry for entry in entries):
        return entries
    from omegaconf import OmegaConf  # only where there is something to resolve

    from when_ml_pipeline_meets_hydra.composing import resolvers

    resolvers.register()
    return [str(entry) for entry in OmegaConf.create({"entries": entries}).entries]


def with_own_search_path(config_dirs: Sequence[str], given: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the folders of option files: ``config_dirs``, and those ``given`` as ``hydra.searchpath``.

    With a job file, its own folder comes first; where no others are given, those of its search path are the last.
    Raises ``BadInput`` if there is no such file, or if it is broken.
    """
    file = job_file(config_dirs)
    if file is None:
        return (*config_dirs, *(given or ()))
    if not file.is_file():
        raise BadInput(Problem(key=FLAG, value=str(file), message="there is no such file"))
    others = [entry for entry in config_dirs if folder_of(entry) != folder_of(str(file))]
    return (str(file), *others, *(own_search_path(file) if given is None else given))


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = load_yaml(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise BadInput(broken_file(str(file), file, error)) from error
    return content if isinstance(content, dict) else {}


def place_of(stage: str) -> str:
    """Return the key at which a job file has the config of a stage: ``ops.train.config``."""
    return f"{OPS}.{stage}.config"


def ops_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what the stages of a job file receive: stage → its config. Empty for any other config."""
    ops = config.get(OPS)
    named = ops.items() if isinstance(ops, Mapping) else ()
    configs = {str(name): op.get("config") for name, op in named if isinstance(op, Mapping)}
    return {name: config for name, config in configs.items() if isinstance(config, Mapping)}


def last_op(config: Mapping[str, Any], stages: Mapping[str, Stage]) -> str | None:
    """Return the last stage of a job file, in the order of the stages; None for any other config."""
    ops = ops_of(config)
    in_order = [name for name in stages if name in ops]
    return next(reversed(in_order or list(ops)), None)
