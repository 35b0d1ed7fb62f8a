"""OmegaConf resolvers such as ``${stem:…}`` and ``${hydra:…}``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import has_magic
from inspect import signature
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable


def register() -> None:
    """Register all resolvers: Hydra's and our own."""
    setup_globals()
    # (OmegaConf 2.4 wants `register_resolver`, which in 2.3 is another, older function.)
    has_new = "replace" in signature(OmegaConf.register_resolver).parameters
    add: Any = OmegaConf.register_resolver if has_new else OmegaConf.register_new_resolver
    # ${stem:${dataset.path}}: the name of a file without folder and extension; of a pattern that of its folder.
    add("stem", lambda path: _stem(Path(str(path))), replace=True)
    # ${run_folder:}: the folder of the run's record; the run gets its id when it starts.
    add("run_folder", lambda *, _root_: f"{_root_.home}/runs/<id>", replace=True)
    add("output_dir_of_running_job", _output_dir_of_running_job, replace=True)
    # ${oc.env:NAME,default}: as OmegaConf's own, and from the file .env as well.
    add("oc.env", _variable, replace=True)


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    if not has_magic(str(path)) and name not in ("", ".."):
        return Path(name).stem
    folder = next((f for f in (path, *path.parents) if not has_magic(str(f))), path).absolute()
    return Path(os.path.normpath(folder)).name or "data"


_REQUIRED = object()


def _variable(name: str, default: Any = _REQUIRED) -> str | None:
    if (value := variable(name)) is not None:
        return value
    if default is _REQUIRED:
        raise KeyError(f"Environment variable '{name}' not found")
    return None if default is None else str(default)


def _output_dir_of_running_job() -> None:
    raise ValueError("a job has its folder only when it runs; functions receive theirs as 'out'")


@contextmanager
def hydra_config(whole: DictConfig) -> Iterator[None]:
    """Within it, ``HydraConfig`` and ``${hydra:…}`` read Hydra's own config from ``whole``."""
    singleton: Any = HydraConfig.instance()
    before, singleton.cfg = singleton.cfg, whole
    try:
        yield
    finally:
        singleton.cfg = before


def describe_job(
    whole: DictConfig, lines: Sequence[str], name: str, chosen: Mapping[str, str], number: int | None
) -> None:
    """Set one job's overrides, ``override_dirname``, choices and number in Hydra's own config in ``whole``."""
    with open_dict(whole.hydra):
        whole.hydra.overrides.task = list(lines)
        whole.hydra.runtime.choices = dict(chosen)
        whole.hydra.runtime.output_dir = "${output_dir_of_running_job:}"
        whole.hydra.job.override_dirname = name
        if number is not None:
            whole.hydra.job.num, whole.hydra.job.id = number, str(number)
