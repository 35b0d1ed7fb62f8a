"""Top-level keys that option files of a user's own add beside those of the program, such as misspelt ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.composing.origins import line_of, shortened_path
from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY, STAGES, Option


def foreign_keys(jobs: Iterable[Job], loader: Loader) -> dict[str, str]:
    """Return the keys with the file and line that adds each.

    Keys may come from files with the package ``_global_``, or from an option of the program's groups whose header names
    another package. What is in packages of a user's own groups is not foreign.
    """
    configs = {id(job.chosen): job.chosen for job in jobs if job.overridden is None}.values()
    options = dict.fromkeys((group, name) for chosen in configs for group, name in chosen.items())
    found: dict[str, str] = {}
    usual: set[str] = set()
    for group, name in options:
        file = (
            None if group.startswith(("hydra", f"{STAGES}/")) or "@" in group else loader.source_file(f"{group}/{name}")
        )
        if file is None or Path(file).is_relative_to(PRIMARY):
            continue
        package = loader.package(f"{group}/{name}").removeprefix("_global_").lstrip(".")
        if package and not (PRIMARY / group).is_dir():
            usual.add(_top(package))
        for key in loader.file_content(f"{group}/{name}") if not package else (_top(package),):
            line = line_of(Path(file), "" if package else key)
            found.setdefault(key, f"{shortened_path(Path(file))}, line {line or 1}")
    usual |= {*loader.file_content(loader.config_name)} if found else set()
    foreign = {key: origin for key, origin in found.items() if key not in usual}
    return {key: origin for key, origin in foreign.items() if key not in _packages()} if foreign else {}


@cache
def _packages() -> frozenset[str]:
    """The top-level keys at which the program's own options land."""
    files = (file for file in PRIMARY.rglob("*.yaml") if file.parent != PRIMARY)
    options = (Option(group=f.parent.relative_to(PRIMARY).as_posix(), name=f.stem, file=f) for f in files)
    return frozenset(_top(option.package) for option in options)


def _top(package: str) -> str:
    return package.partition(".")[0]
