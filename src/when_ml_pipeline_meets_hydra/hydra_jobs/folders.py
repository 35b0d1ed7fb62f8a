"""Hydra's output folders: one per job, with its configs in ``.hydra/``.

By default these folders are in the folder of the run's record; ``hydra.run.dir``, ``hydra.sweep.dir`` and
``hydra.sweep.subdir`` move them. Secrets are masked in all files.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from textwrap import indent
from typing import Any

from when_ml_pipeline_meets_hydra.composing.job import JOB_NUMBER, RUN_FOLDER, Job, override_dirname
from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, local_path
from when_ml_pipeline_meets_hydra.masking import Redactor

Resolve = Callable[[Mapping[str, Any], Mapping[str, Any], str], str]


@dataclass(frozen=True, kw_only=True)
class JobFolders:
    """The output folders of a run's jobs.

    ``composed`` is Hydra's own config, unresolved; ``run_folder`` the folder of the run's record; ``resolve`` resolves
    an interpolation: (config of a job, Hydra's config for it, key) → text.
    """

    composed: Mapping[str, Any]
    run_folder: Path
    is_multirun: bool
    redactor: Redactor
    secret_keys: Collection[str]
    resolve: Resolve
    _places: dict[int, Path] = field(init=False, default_factory=dict)
    _written: set[int] = field(init=False, default_factory=set)
    _logs: set[Path] = field(init=False, default_factory=set)
    _texts: dict[tuple[str, int], tuple[Any, str]] = field(init=False, default_factory=dict)

    @cached_property
    def hydra(self) -> Mapping[str, Any]:
        """Hydra's own config, with the run's folder filled in."""
        return dict(_with_run_folder(self.composed, str(self.run_folder)))

    @property
    def are_own(self) -> bool:
        """Whether all folders are in the run's own folder (the default)."""
        places = self.composed["run"]["dir"], self.composed["sweep"]["dir"], self.composed["sweep"]["subdir"]
        return places == (RUN_FOLDER, RUN_FOLDER, JOB_NUMBER)

    def of(self, job: Job) -> Path:
        """Return the absolute folder of a job. Raises ``BadInput`` if it cannot be resolved."""
        if job.number not in self._places:
            self._places[job.number] = self._resolve_folder(job)
        return self._places[job.number]

    def _resolve_folder(self, job: Job) -> Path:
        if not self.is_multirun:
            return self._place(job, "run.dir")
        subdir = self.hydra["sweep"]["subdir"]
        below = str(job.number) if subdir == JOB_NUMBER else self._resolved(job, "sweep.subdir")
        return self._place(job, "sweep.dir") / below

    def hydra_of(self, job: Job) -> dict[str, Any]:
        """Return Hydra's config as functions of the job receive it from ``HydraConfig.get()``."""
        hydra = self.hydra_before_start(job)
        return {**hydra, "runtime": {**hydra["runtime"], "output_dir": str(self.of(job))}}

    def hydra_before_start(self, job: Job) -> dict[str, Any]:
        """Return Hydra's config for a job, without its output folder."""
        return {**self._named(job), "runtime": {**self.hydra["runtime"], "choices": dict(job.chosen)}}

    def write(self, job: Job) -> None:
        """Write the configs of a job into its folder, once."""
        name = self.hydra.get("output_subdir")
        if name is None or job.number in self._written:
            return
        self._written.add(job.number)
        folder = self.of(job)
        final, temporary = f"{folder}/{name}", f"{folder}/.{name}.{os.getpid()}"
        _make(temporary)
        shown = [self._shown(line) for line in job.overrides]
        _write(f"{temporary}/config.yaml", "".join(self._part(k, v) for k, v in job.raw.items()))
        _write(f"{temporary}/overrides.yaml", "".join(f"- {_scalar(line)}\n" for line in shown) or "[]\n")
        _write(f"{temporary}/hydra.yaml", self._hydra_text(job, shown, folder))
        try:
            os.rename(temporary, final)  # noqa: PTH104
        except OSError:  # it has the configs of another job: of an earlier run that was told the same folder
            _replace(temporary, final)

    def write_multirun(self, first: Job) -> None:
        """Write ``multirun.yaml``, as Hydra's sweepers do."""
        folder = self.of_sweep(first)
        folder.mkdir(parents=True, exist_ok=True)
        hydra = self.redactor.tree({**self.hydra, "mode": "MULTIRUN"}, self.secret_keys, free=True)
        content = {**self.redactor.tree(first.raw, self.secret_keys), "hydra": hydra}
        temporary = folder / f".multirun.{os.getpid()}"
        temporary.write_text(dump_yaml(content), encoding="utf-8")
        temporary.replace(folder / "multirun.yaml")

    def link_log(self, job: Job, log: Path | None) -> None:
        """Link the log of a job's step into the job's folder, under Hydra's name for it.

        That of an earlier run with the same folder is removed; of several jobs of this run, the first one stays.
        """
        place = self.of(job) / f"{self.hydra['job']['name']}.log"
        if place in self._logs or not place.parent.is_dir():
            return
        place.unlink(missing_ok=True)
        if log and log.is_file():
            self._logs.add(place)
            try:
                os.link(log, place)
            except OSError:  # another file system
                shutil.copyfile(log, place)

    def of_sweep(self, first: Job) -> Path:
        """Return the absolute folder of a sweep (``hydra.sweep.dir``)."""
        return self._place(first, "sweep.dir")

    def _place(self, job: Job, key: str) -> Path:
        group, _, name = key.partition(".")
        is_own = self.composed[group][name] == RUN_FOLDER
        if is_own:
            return self.run_folder
        text = self._resolved(job, key)
        try:
            return local_path(text).absolute()
        except (ValueError, RuntimeError) as error:
            raise BadInput(Problem(key=f"hydra.{key}", value=text, message=str(error))) from error

    def _resolved(self, job: Job, key: str) -> str:
        return self.resolve(job.config, self.hydra_before_start(job), key)

    def _named(self, job: Job) -> dict[str, Any]:
        number = {"num": job.number, "id": str(job.number)} if self.is_multirun else {}
        own = {**self.hydra["job"], "override_dirname": self._dirname(job), **number}
        overrides = {**self.hydra["overrides"], "task": list(job.overrides)}
        return {**self.hydra, "mode": self._mode, "job": own, "overrides": overrides}

    @property
    def _mode(self) -> str:
        return "MULTIRUN" if self.is_multirun else "RUN"

    def _dirname(self, job: Job) -> str:
        return override_dirname(map(self._shown, job.overrides), self.hydra["job"]["config"]["override_dirname"])

    def _part(self, key: str, value: Any) -> str:
        """Return a key as YAML; cached, since jobs share values."""
        if (state := (key, id(value))) not in self._texts:
            self._texts[state] = value, dump_yaml({key: self.redactor.tree(value, self.secret_keys, key)})
        return self._texts[state][1]

    def _hydra_text(self, job: Job, overrides: list[str], folder: Path) -> str:
        """Return the text of ``hydra.yaml``: the job's own parts, and those that jobs share, which are cached."""
        number = f"    num: {job.number}\n    id: '{job.number}'\n" if self.is_multirun else ""
        tasks = "".join(f"\n    - {_scalar(line)}" for line in overrides) or " []"
        choices = indent(self._part("choices", job.chosen), "    ")
        return (
            f"hydra:\n{self._shared['']}"
            f"  job:\n{number}    override_dirname: {_scalar(self._dirname(job))}\n{self._shared['job']}"
            f"  overrides:\n    task:{tasks}\n{self._shared['overrides']}"
            f"  runtime:\n    output_dir: {_scalar(str(folder))}\n{choices}{self._shared['runtime']}"
        )

    @cached_property
    def _shared(self) -> Mapping[str, str]:
        """The parts of Hydra's config that jobs share: section → YAML; all sections without own parts are in ``""``."""
        number = ("num", "id") if self.is_multirun else ()
        own = {"job": {"override_dirname", *number}, "overrides": {"task"}, "runtime": {"choices", "output_dir"}}
        shown = self.redactor.tree({**self.hydra, "mode": self._mode}, self.secret_keys, free=True)
        parts = {key: {k: v for k, v in shown[key].items() if k not in names} for key, names in own.items()}
        others = indent(dump_yaml({k: v for k, v in shown.items() if k not in own}), "  ")
        return {"": others, **{key: indent(dump_yaml(part), "    ") for key, part in parts.items()}}

    @cached_property
    def _shown(self) -> Callable[[str], str]:
        return cache(lambda line: self.redactor.override(line, self.secret_keys))


def _with_run_folder(node: Any, folder: str) -> Any:
    if isinstance(node, Mapping):
        return {k: _with_run_folder(v, folder) for k, v in node.items()}
    if isinstance(node, list):
        return [_with_run_folder(v, folder) for v in node]
    return node.replace(RUN_FOLDER, folder) if isinstance(node, str) else node


def _replace(new: str, old: str) -> None:
    """Put a folder in the place of another one. Of two runs that do so at once, one wins."""
    away = f"{new}.old"
    try:
        os.rename(old, away)  # noqa: PTH104
        os.rename(new, old)  # noqa: PTH104
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(away, ignore_errors=True)


def _make(folder: str) -> None:
    """Create a folder; called for every job, whose own folder is missing only if it is not that of its run."""
    try:
        os.mkdir(folder)  # noqa: PTH102
    except OSError:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103


def _write(file: str, text: str) -> None:
    with open(file, "wb") as stream:  # noqa: PTH123 - bytes, which take half as long
        stream.write(text.encode())


# Texts that need no quotes in YAML.
_SIMPLE = re.compile(r"[+~]{0,2}[A-Za-z_/][\w/.=,+@-]*(?<!\.)")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@lru_cache(maxsize=4096)
def _scalar(text: str) -> str:
    """Return a text as a YAML scalar on one line."""
    if _SIMPLE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return dump_yaml([text], width=1_000_000).removeprefix("- ").rstrip("\n")
