"""What Hydra's users look for beside a run: a folder per job, with the config that it was composed from (``.hydra/``).

By default these folders lie in the run's own folder; ``hydra.run.dir``, ``hydra.sweep.dir`` and ``hydra.sweep.subdir``
move them. Secrets are masked in all that is written.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.composing.job import JOB_NUMBER, RUN_FOLDER, Job, override_dirname
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.records.record import dump_yaml

# What differs from job to job; each stands in the text of hydra.yaml until it is known.
_NUMBER, _NAME, _TASK, _FOLDER = "THE-JOBS-NUMBER", "THE-JOBS-OVERRIDES-AS-A-NAME", "THE-JOBS-OVERRIDES", "THE-FOLDER"
_CHOICE = "THE-JOBS-CHOICES"

Resolve = Callable[[Mapping[str, Any], Mapping[str, Any], str], str]


@dataclass(frozen=True, kw_only=True)
class JobFolders:
    """The folders of a run's jobs.

    ``composed`` is Hydra's own config as it is written, ``run_folder`` that of the run's record; ``resolve`` works out
    an interpolation: (config of a job, Hydra's config for it, key) → text.
    """

    composed: Mapping[str, Any]
    run_folder: Path
    is_multirun: bool
    masks: Redactor
    secret_keys: Collection[str]
    resolve: Resolve

    @cached_property
    def hydra(self) -> Mapping[str, Any]:
        """Hydra's own config, with the run's folder in its place."""
        return dict(_filled(self.composed, str(self.run_folder)))

    @property
    def are_own(self) -> bool:
        """Whether all of them lie in the run's own folder, as by default."""
        places = self.composed["run"]["dir"], self.composed["sweep"]["dir"], self.composed["sweep"]["subdir"]
        return places == (RUN_FOLDER, RUN_FOLDER, JOB_NUMBER)

    def of(self, job: Job) -> Path:
        """The folder of a job, absolute. Raises ``BadInput`` where it cannot be worked out."""
        if job.number not in self._places:
            self._places[job.number] = self._worked_out(job)
        return self._places[job.number]

    @cached_property
    def _places(self) -> dict[int, Path]:
        return {}

    def _worked_out(self, job: Job) -> Path:
        if not self.is_multirun:
            return self._place(job, "run.dir")
        subdir = self.hydra["sweep"]["subdir"]
        below = str(job.number) if subdir == JOB_NUMBER else self._resolved(job, "sweep.subdir")
        return self._place(job, "sweep.dir") / below

    def hydra_of(self, job: Job) -> dict[str, Any]:
        """Hydra's config as the functions of a job see it by ``HydraConfig.get()``."""
        described = self.described(job)
        return {**described, "runtime": {**described["runtime"], "output_dir": str(self.of(job))}}

    def described(self, job: Job) -> dict[str, Any]:
        """Hydra's config for a job, before the job has a folder."""
        return {**self._named(job), "runtime": self._runtime(job)}

    def write(self, job: Job) -> None:
        """Write the job's config beside its results, once."""
        name = self.hydra.get("output_subdir")
        if name is None or job.number in self._written:
            return
        self._written.add(job.number)
        folder = self.of(job)
        final, temporary = f"{folder}/{name}", f"{folder}/.{name}.{os.getpid()}"
        os.makedirs(temporary, exist_ok=True)  # noqa: PTH103 - asked for every job, as all of this
        shown = [self._shown(line) for line in job.overrides]
        _write(f"{temporary}/config.yaml", "".join(self._part(k, v) for k, v in job.raw.items()))
        _write(f"{temporary}/overrides.yaml", "".join(f"- {_scalar(line)}\n" for line in shown) or "[]\n")
        _write(f"{temporary}/hydra.yaml", self._hydra_text(job, shown, folder))
        try:
            os.rename(temporary, final)  # noqa: PTH104
        except OSError:  # another run was told to use the same folder, and was quicker
            shutil.rmtree(temporary, ignore_errors=True)

    def write_multirun(self, first: Job) -> None:
        """Write what the whole sweep was composed from, as Hydra's sweepers do."""
        folder = self._place(first, "sweep.dir")
        folder.mkdir(parents=True, exist_ok=True)
        content = self.masks.tree({**first.raw, "hydra": {**self.hydra, "mode": "MULTIRUN"}}, self.secret_keys)
        temporary = folder / f".multirun.{os.getpid()}"
        temporary.write_text(dump_yaml(content), encoding="utf-8")
        temporary.replace(folder / "multirun.yaml")

    def link_log(self, job: Job, log: Path) -> None:
        """Let the log of a job's step also be found in the job's folder, under the name that Hydra gives it."""
        place = self.of(job) / f"{self.hydra['job']['name']}.log"
        if place.parent.is_dir() and not place.exists():
            try:
                os.link(log, place)
            except OSError:  # another file system
                shutil.copyfile(log, place)

    def _place(self, job: Job, key: str) -> Path:
        group, _, name = key.partition(".")
        is_own = self.composed[group][name] == RUN_FOLDER
        return self.run_folder if is_own else Path(self._resolved(job, key)).absolute()

    def _resolved(self, job: Job, key: str) -> str:
        return self.resolve(job.config, self.described(job), key)

    def _runtime(self, job: Job) -> dict[str, Any]:
        return {**self.hydra["runtime"], "choices": dict(job.chosen)}

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
        """One top-level key as YAML; jobs share these."""
        if (state := (key, id(value))) not in self._texts:
            self._texts[state] = value, dump_yaml({key: self.masks.tree(value, self.secret_keys, key)})
        return self._texts[state][1]

    @cached_property
    def _texts(self) -> dict[tuple[str, int], tuple[Any, str]]:
        return {}

    def _hydra_text(self, job: Job, overrides: list[str], folder: Path) -> str:
        """``hydra.yaml``: what jobs share as YAML, once, and in it what is the job's own."""
        if (state := id(job.chosen)) not in self._hydra_texts:
            chosen = (f"{_scalar(group)}: {_scalar(self.masks.text(name))}" for group, name in job.chosen.items())
            text = _with_lines(self._shared_text, f"{_CHOICE}: null", [*chosen])
            self._hydra_texts[state] = job.chosen, text
        text = self._hydra_texts[state][1]
        text = _with_lines(text, f"- {_TASK}", [f"- {_scalar(line)}" for line in overrides] or ["[]"])
        text = text.replace(_NUMBER, str(job.number)).replace(_NAME, _scalar(self._dirname(job)))
        return text.replace(_FOLDER, _scalar(str(folder)))

    @cached_property
    def _shared_text(self) -> str:
        number = {"num": _NUMBER, "id": _NUMBER} if self.is_multirun else {}
        content = {
            **self.hydra,
            "mode": self._mode,
            "job": {**self.hydra["job"], "override_dirname": _NAME, **number},
            "overrides": {**self.hydra["overrides"], "task": [_TASK]},
            "runtime": {**self.hydra["runtime"], "choices": {_CHOICE: None}, "output_dir": _FOLDER},
        }
        text = dump_yaml({"hydra": self.masks.tree(content, self.secret_keys)})
        return text.replace(f"id: {_NUMBER}", f"id: '{_NUMBER}'")

    @cached_property
    def _written(self) -> set[int]:
        return set()

    @cached_property
    def _shown(self) -> Callable[[str], str]:
        return cache(lambda line: self.masks.override(line, self.secret_keys))

    @cached_property
    def _hydra_texts(self) -> dict[int, tuple[Mapping[str, str], str]]:
        return {}


def _filled(node: Any, folder: str) -> Any:
    if isinstance(node, Mapping):
        return {k: _filled(v, folder) for k, v in node.items()}
    if isinstance(node, list):
        return [_filled(v, folder) for v in node]
    return node.replace(RUN_FOLDER, folder) if isinstance(node, str) else node


def _with_lines(text: str, line: str, lines: list[str]) -> str:
    """``text`` with some lines in the place of one, each indented as that one is."""
    end = text.index(f"{line}\n")
    begin = text.rindex("\n", 0, end) + 1
    return "".join([text[:begin], *(f"{text[begin:end]}{new}\n" for new in lines), text[end + len(line) + 1 :]])


def _write(file: str, text: str) -> None:
    with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(text)


# What is the same in YAML as without it.
_SIMPLE = re.compile(r"[+~]{0,2}[A-Za-z_/][\w/.=,+@-]*(?<!\.)")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@lru_cache(maxsize=4096)
def _scalar(text: str) -> str:
    """A text as one YAML value on one line."""
    if _SIMPLE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return dump_yaml([text], width=1_000_000).removeprefix("- ").rstrip("\n")
