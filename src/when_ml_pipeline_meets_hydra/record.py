"""Outcomes → the record of a run: readable files in a folder of its own, never written twice.

``<home>/runs/<id>/`` holds ``run.json`` (overrides, versions, git state, steps, timings, metrics), ``jobs/<n>.yaml``
(the whole resolved config of each job), ``logs/`` and what effects left in ``effects/``. Secrets are masked.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra import durable
from when_ml_pipeline_meets_hydra.bind import Bound
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.execute import Outcome, Status

_LIBRARIES = ("hydra-core", "omegaconf", "pydantic", "polars", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for: the words of the command line."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dirs: tuple[str, ...] = ()


class Recorder:
    """Writes the record of one run: when it starts, after each step, and when it ends."""

    def __init__(self, home: Path, request: Request, bound: Bound) -> None:
        self._folder = _new_folder(home / "runs")
        self._masks, self._secret = bound.redactor, bound.secret_keys
        self._started = time.time()
        self._content: dict[str, Any] = {
            "id": self._folder.name,
            "status": "running",
            "exit_code": None,
            "overrides": [self._masks.override(o, self._secret) for o in request.overrides],
            "multirun": request.multirun,
            "config_dirs": list(request.config_dirs),
            "folder": str(Path.cwd()),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None,
            "process": {"pid": os.getpid(), "host": socket.gethostname()},
            "versions": _versions(),
            "git": _git(),
            "jobs": [
                {
                    "number": job.number,
                    "stage": job.stage,
                    "overrides": [self._masks.override(o, self._secret) for o in job.overrides],
                    "config": f"jobs/{job.number}.yaml",
                }
                for job, _ in bound.calls
            ],
            "steps": [],
        }
        for job, _ in bound.calls:
            self._write_config(job.number, job.config)
        self._write()

    @property
    def folder(self) -> Path:
        """The run's own folder; its name is the run's id."""
        return self._folder

    def add(self, outcome: Outcome) -> None:
        """Note what became of a step."""
        step = outcome.step
        self._content["steps"].append(
            {
                "stage": step.call.stage,
                "subcommand": step.call.subcommand,
                "key": step.key,
                "jobs": list(step.jobs),
                "status": str(outcome.status),
                "reason": self._masks.text(outcome.reason),
                "seconds": round(outcome.seconds, 3),
                "metrics": dict(outcome.metrics) if outcome.metrics else None,
                "error": outcome.error,
                "log": str(outcome.log.relative_to(self._folder)) if outcome.log and outcome.log.is_file() else None,
            }
        )
        self._write()

    def close(self, exit_code: ExitCode) -> None:
        """Note how the run ended."""
        names = {ExitCode.DONE: "done", ExitCode.INTERRUPTED: "interrupted"}
        seconds = round(time.time() - self._started, 3)
        self._content |= {"status": names.get(exit_code, "failed"), "exit_code": int(exit_code), "seconds": seconds}
        self._write()

    def _write(self) -> None:
        durable.write(self._folder / "run.json", json.dumps(self._content, indent=2, ensure_ascii=False).encode())

    def _write_config(self, number: int, config: Mapping[str, Any]) -> None:
        masked = self._masks.tree(dict(config), self._secret)
        durable.write(self._folder / "jobs" / f"{number}.yaml", dump_yaml(masked).encode())


@dataclass(frozen=True)
class Record:
    """The record of a run, read from its folder."""

    folder: Path

    @cached_property
    def content(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        return dict(json.loads((self.folder / "run.json").read_text(encoding="utf-8")))

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.name

    @property
    def status(self) -> str:
        """``done``, ``failed``, ``interrupted``, ``running``, or ``killed`` where its process is gone."""
        status = str(self.content["status"])
        process = self.content["process"]
        if status == "running" and process["host"] == socket.gethostname() and not _is_alive(process["pid"]):
            return "killed"
        return status

    @property
    def metrics(self) -> dict[str, float]:
        """``<stage>.<metric>`` → value, of the last job where there are several."""
        return {
            f"{step['stage']}.{name}": value
            for step in self.content["steps"]
            for name, value in (step["metrics"] or {}).items()
        }

    def config(self, job: int) -> dict[str, Any]:
        """The resolved config of a job, secrets masked."""
        loaded = yaml.load((self.folder / "jobs" / f"{job}.yaml").read_text(encoding="utf-8"), Loader=_YAML_LOADER)
        return dict(loaded)

    @property
    def request(self) -> Request:
        """What was asked for."""
        c = self.content
        return Request(overrides=tuple(c["overrides"]), multirun=c["multirun"], config_dirs=tuple(c["config_dirs"]))


def read_records(home: Path) -> Iterator[Record]:
    """All records, the newest last."""
    for folder in sorted((home / "runs").glob("*")):
        if (folder / "run.json").is_file():
            yield Record(folder)


def find_record(home: Path, name: str) -> Record:
    """The record whose id is ``name`` or starts with it, or ``last``. Raises ``BadInput`` where there is not one."""
    records = list(read_records(home))
    found = records[-1:] if name == "last" else [r for r in records if r.id == name]
    found = found or [r for r in records if r.id.startswith(name) or r.id.endswith(name)]
    if len(found) == 1:
        return found[0]
    message = f"several runs match: {', '.join(r.id for r in found)}" if found else f"there is no such run in {home}"
    raise BadInput(Problem(key=name, message=message, remedy=did_you_mean(name, [r.id for r in records[-20:]])))


_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def dump_yaml(content: Any) -> str:
    """Plain values as YAML, keys in their order."""
    return str(yaml.dump(content, Dumper=_YAML_DUMPER, sort_keys=False, allow_unicode=True, default_flow_style=False))


def exit_code_of(outcomes: Sequence[Outcome]) -> ExitCode:
    """How the process ends: interrupted, else a failure of a step, else a refusal, else bad input found in a step."""
    codes = {o.exit_code for o in outcomes if o.status in (Status.FAILED, Status.INTERRUPTED)}
    order = (ExitCode.INTERRUPTED, ExitCode.STEP_FAILED, ExitCode.REFUSED, ExitCode.BAD_INPUT)
    return next((code for code in order if code in codes), ExitCode.DONE)


def _new_folder(runs: Path) -> Path:
    while True:
        now = datetime.now()
        folder = runs / f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 100:04}"  # in the order in which they began
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in (str(__package__), *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Commit and state of the repository that we stand in; None outside of one."""
    try:
        commit = _git_says("rev-parse", "HEAD").strip()
        return {"commit": commit, "changed": bool(_git_says("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git_says(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True).stdout


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
