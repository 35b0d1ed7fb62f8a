"""What interpolations such as ``${stem:…}`` and ``${hydra:…}`` lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict


def register() -> None:
    """Make all interpolations known: Hydra's and our own."""
    setup_globals()
    # (OmegaConf 2.4 wants `register_resolver`, which in 2.3 is another, older function.)
    has_new = "replace" in signature(OmegaConf.register_resolver).parameters
    add: Any = OmegaConf.register_resolver if has_new else OmegaConf.register_new_resolver
    # ${stem:${dataset.path}}: the name of a file without folder and ending.
    add("stem", lambda path: Path(str(path)).stem, replace=True)
    # ${run_folder:}: where the record of the run lies; it gets its id when it starts.
    add("run_folder", lambda *, _root_: f"{_root_.home}/runs/<id>", replace=True)
    add("not_before_it_runs", _not_before_it_runs, replace=True)


def _not_before_it_runs() -> None:
    raise ValueError("a job has its folder only when it runs; functions receive theirs as 'out'")


@contextmanager
def hydra_config(whole: DictConfig) -> Iterator[None]:
    """Let ``HydraConfig``, and with it ``${hydra:…}``, find Hydra's own config in ``whole``."""
    singleton: Any = HydraConfig.instance()
    before, singleton.cfg = singleton.cfg, whole
    try:
        yield
    finally:
        singleton.cfg = before


def describe_job(
    whole: DictConfig, lines: Sequence[str], name: str, chosen: Mapping[str, str], number: int | None
) -> None:
    """Let Hydra's own config in ``whole`` tell of one job: its overrides, also as a name, and its number in a sweep."""
    with open_dict(whole.hydra):
        whole.hydra.overrides.task = list(lines)
        whole.hydra.runtime.choices = dict(chosen)
        whole.hydra.runtime.output_dir = "${not_before_it_runs:}"
        whole.hydra.job.override_dirname = name
        if number is not None:
            whole.hydra.job.num, whole.hydra.job.id = number, str(number)
