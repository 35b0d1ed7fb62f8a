"""The record of a run: files in a folder of its own, suited for sweeps of any size.

``<home>/runs/<id>/`` holds ``run.json`` (overrides, versions, git state, status), ``jobs.jsonl`` (a line per job with
its resolved config), ``steps.jsonl`` (a line per ended step), of a search ``trials.jsonl``, ``logs/`` and the files of
effects in ``effects/``. Secrets are masked.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.call import DATA
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.records import record_files
from when_ml_pipeline_meets_hydra.records.annotations import Annotations, change_annotations, read_annotations
from when_ml_pipeline_meets_hydra.records.job_lines import CONFIG, JobLines, encode
from when_ml_pipeline_meets_hydra.records.partial_scores import as_json
from when_ml_pipeline_meets_hydra.records.provenance import git_state, versions
from when_ml_pipeline_meets_hydra.records.record_files import HEAD, JOBS, STEPS, TRIALS
from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial, trial_of
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass
from when_ml_pipeline_meets_hydra.storage import durable_files, seals
from when_ml_pipeline_meets_hydra.storage.home import make_home

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.binding.call import Bound
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.masking import Redactor


class RunStatus(StrEnum):
    """Status of a run; ``KILLED`` if its process is gone without having closed the record."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


class Recorder:
    """Writes the record of one run: when it starts, after each step, and when it ends.

    ``head`` is the part of ``run.json`` that does not change during the run.
    """

    def __init__(self, folder: Path, redactor: Redactor, head: Mapping[str, Any]) -> None:
        self._folder, self._redactor, self._started = folder, redactor, time.time()
        self._lines: JobLines | None = None
        self._counts: Counter[str] = Counter()
        self._metrics: dict[str, float] = {}
        self._steps = folder / STEPS
        self._steps.touch()
        self._head: dict[str, Any] = {
            **head,
            "digests": {JOBS: durable_files.sha256(folder / JOBS)},
            "id": folder.name,
            "status": RunStatus.RUNNING,
            "exit_code": None,
            "folder": str(Path.cwd()),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None,
            "process": {"pid": os.getpid(), "host": os.uname().nodename},
            "git": git_state(Path.cwd()),
        }
        self._write()

    @classmethod
    def of(
        cls,
        home: Path,
        request: Request,
        bound: Bound,
        requested: Mapping[int, str],
        search: str | None = None,
        config_stores: Sequence[Mapping[str, Any]] = (),
    ) -> Recorder:
        """Return the recorder of a new run; ``requested`` maps the number of a job to the key of its own step.

        ``search`` describes the search that proposes its jobs, ``config_stores`` the revisions that were composed.
        """
        from when_ml_pipeline_meets_hydra.binding.objective import directions_of

        make_home(home)
        folder = record_files.new_folder(home / "runs", bound.settings.prefix)
        lines = JobLines(bound.redactor, bound.secret_keys, requested)
        # The head is written last: if it exists, the jobs do as well.
        durable_files.write_parts(folder / JOBS, (lines.line(job) for job, _ in bound.calls))
        head = {
            "overrides": [lines.override(o) for o in request.overrides],
            "multirun": request.multirun,
            "config_dirs": list(request.config_dirs),
            **({"repeats": request.recorded.source} if request.recorded else {}),
            **({"search": search} if search else {}),
            **({"prefix": bound.settings.prefix} if bound.settings.prefix else {}),
            **({"config_stores": [dict(facts) for facts in config_stores]} if config_stores else {}),
            "versions": versions(),
            "stages": list(dict.fromkeys(job.stage for job, _ in bound.calls)),
            "job_count": len(bound.calls),
            "objective": _objective(bound),
            "directions": directions_of(bound.all_calls),
            "scores": {c.stage: c.returns.scored_on for c in bound.all_calls if c.returns and c.returns.scored_on},
        }
        recorder = cls(folder, bound.redactor, head)
        recorder._lines = lines
        return recorder

    def extend(self, bound: Bound, requested: Mapping[int, str]) -> None:
        """Append the jobs that a search has proposed; the lines are kept if this process is killed."""
        assert self._lines is not None
        self._lines.requested |= requested
        with (self._folder / JOBS).open("ab") as file:
            file.writelines(self._lines.line(job) for job, _ in bound.calls)
        self._head["job_count"] += len(bound.calls)
        self._head["stages"] = list(dict.fromkeys([*self._head["stages"], *(job.stage for job, _ in bound.calls)]))
        if JOBS in self._head["digests"]:
            self._head["digests"] = {}
            self._head["grows"] = True
            self._write()

    @classmethod
    def of_cached_run(cls, before: Record, redactor: Redactor) -> Recorder:
        """Return the recorder of a replayed run, with the overrides, jobs and versions of the cached one."""
        jobs, digest = (before.folder / JOBS).read_bytes(), before.digest(JOBS)
        is_whole = digest is None or hashlib.sha256(jobs).hexdigest() == digest
        if not is_whole or jobs.count(b"\n") != before.head["job_count"]:
            raise record_files.damaged(before.folder, JOBS)
        folder = record_files.new_folder(before.folder.parent, before.head.get("prefix"))
        durable_files.write_parts(folder / JOBS, [jobs])
        return cls(folder, redactor, before.head)

    @property
    def folder(self) -> Path:
        """The run's own folder; its name is the run's id."""
        return self._folder

    def add(self, outcome: Outcome) -> None:
        """Write the outcome of a step; the line is kept if this process is killed."""
        step, metrics = outcome.step, outcome.metrics
        line = {
            "stage": step.call.stage,
            "subcommand": step.call.subcommand,
            "element": step.call.element,
            "key": step.key,
            "code": step.inputs.get("code"),
            "data": data_of(step.inputs),
            "jobs": step.jobs,
            "status": outcome.status,
            "reason": self._redactor.text(outcome.reason),
            "seconds": round(outcome.seconds, 3),
            "metrics": dict(metrics) if metrics else None,
            **({"deviations": dict(outcome.deviations)} if outcome.deviations else {}),
            **({"partial_scores": as_json(outcome.partial_scores)} if outcome.partial_scores else {}),
            "error": outcome.error,
            "log": str(outcome.log.relative_to(self._folder)) if outcome.log and outcome.log.is_file() else None,
        }
        self._counts[outcome.status] += 1
        if step.call.element is None:
            self._metrics |= _stage_metrics(step.call.stage, metrics)
        with self._steps.open("ab") as file:
            file.write(f"{encode(line)}\n".encode(errors="backslashreplace"))

    def discard(self) -> None:
        """Remove the record of a run that could not start."""
        from shutil import rmtree

        rmtree(self._folder)

    def close(self, exit_code: ExitCode, facts: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Write the status and exit code of the ended run, and further ``facts``."""
        names = {ExitCode.DONE: RunStatus.DONE, ExitCode.INTERRUPTED: RunStatus.INTERRUPTED}
        seconds = round(time.time() - self._started, 3)
        status = names.get(exit_code, RunStatus.FAILED)
        self._head |= {"status": status, "exit_code": int(exit_code), "seconds": seconds}
        self._head |= {"counts": dict(self._counts), "metrics": self._metrics}
        self._head |= facts
        durable_files.sync(self._steps)
        if self._head.pop("grows", False):
            durable_files.sync(self._folder / JOBS)
            self._head["digests"] = {JOBS: durable_files.sha256(self._folder / JOBS)}
        written = {f.name: durable_files.sha256(f) for f in (self._steps, self._folder / TRIALS) if f.is_file()}
        self._head["digests"] = {**self._head["digests"], **written}
        self._write()

    def _write(self) -> None:
        content = json.dumps(self._head, indent=2, ensure_ascii=False)
        durable_files.write(self._folder / HEAD, seals.sealed(content.encode(errors="backslashreplace")))


@dataclass(frozen=True)
class Record:
    """The record of a run, read from its ``folder`` (``<home>/runs/<id>``); each file on first use."""

    folder: Path

    @cached_property
    def head(self) -> dict[str, Any]:
        """The content of ``run.json``. Raises ``BadInput`` if it is damaged."""
        head = record_files.read_head(self.folder)
        if head["status"] not in list(RunStatus):
            raise record_files.damaged(self.folder, HEAD)
        return head

    def digest(self, name: str) -> str | None:
        """Return the digest of a file of the record; None if it is not known."""
        found = self.head.get("digests", {}).get(name)
        return str(found) if found else None

    @property
    def content(self) -> dict[str, Any]:
        """The head with ``tags``, ``note``, ``jobs`` and ``steps``, but without the configs."""
        notes = {"tags": list(self.tags), "note": self.note}
        return {**self.head, **notes, "jobs": list(self.jobs()), "steps": self.steps}

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.name

    @property
    def status(self) -> RunStatus:
        """The status of the run."""
        return live_status(self.head["status"], self.head["process"])

    @cached_property
    def annotations(self) -> Annotations:
        """The tags and the note. Raises ``BadInput`` if they are damaged."""
        return read_annotations(self.folder)

    def annotate(self, change: Callable[[Annotations], Annotations]) -> Annotations:
        """Change the tags and the note, while no other process does, and return them. Raises ``BadInput``."""
        after = change_annotations(self.folder, change)
        self.__dict__["annotations"] = after
        return after

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the run, sorted."""
        return self.annotations.tags

    @property
    def note(self) -> str:
        """The note on the run; empty if there is none."""
        return self.annotations.note

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics, ``<stage>.<metric>`` → value; with several jobs, those of the last one."""
        if "metrics" in self.head:
            return dict(self.head["metrics"])
        whole = (step for step in self.steps if not step.get("element"))
        return {name: value for s in whole for name, value in _stage_metrics(s["stage"], s["metrics"]).items()}

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The outcomes of the steps as JSON values, in the order in which they ended. Raises ``BadInput``."""
        steps = [step for step, _ in record_files.read_lines(self.folder, STEPS, self.digest(STEPS))]
        if len(steps) < sum(self.head.get("counts", {}).values()):
            raise record_files.damaged(self.folder, STEPS)
        return steps

    @cached_property
    def trials(self) -> list[RecordedTrial]:
        """The trials of a search that has ended, the best first; empty otherwise. Raises ``BadInput``."""
        if (digest := self.digest(TRIALS)) is None:
            return []
        return [trial_of(line) for line, _ in record_files.read_lines(self.folder, TRIALS, digest)]

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield the jobs as JSON values, without their configs.

        ``overrides``; ``choices`` (group → option); ``combination``, the same number for jobs that differ in their
        stage only; ``key`` of the job's own step; ``variables``, the environment variables of secrets by key. Raises
        ``BadInput`` where they are damaged.
        """
        yield from (job for job, _ in self._job_lines())

    def configs(self, jobs: Collection[int] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number and resolved config of each job, or of some ``jobs``; secrets masked."""
        for job, config in self._job_lines():
            if jobs is None or job["number"] in jobs:
                yield job["number"], self._config(config)

    def _config(self, text: str) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            if isinstance(config := json.loads(text), dict):
                return config
        raise record_files.damaged(self.folder, JOBS)

    def _job_lines(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield each job with the text of its config."""
        count = 0
        for job, line in record_files.read_lines(self.folder, JOBS, self.digest(JOBS), CONFIG):
            count += 1
            yield job, line[:-1]
        if count < self.head["job_count"] or (count > self.head["job_count"] and not self.head.get("grows")):
            raise record_files.damaged(self.folder, JOBS)

    def config(self, job: int) -> dict[str, Any]:
        """Return the resolved config of a job, secrets masked. Raises ``KeyError`` if there is no such job."""
        for _, config in self.configs([job]):
            return config
        raise KeyError(job)

    @property
    def request(self) -> Request:
        """The request of the run."""
        c = self.head
        return Request(overrides=tuple(c["overrides"]), multirun=c["multirun"], config_dirs=tuple(c["config_dirs"]))


def live_status(status: str, process: Mapping[str, Any]) -> RunStatus:
    """Return the status of a run, of which ``status`` was recorded, by whether its process still runs."""
    is_here = process["host"] == os.uname().nodename
    if status == RunStatus.RUNNING and is_here and not durable_files.is_running(process["pid"]):
        return RunStatus.KILLED
    return RunStatus(status)


def _objective(bound: Bound) -> dict[str, Any]:
    objective = bound.settings.objective.content
    return dict(bound.redactor.tree(objective, bound.secret_keys, "objective"))


def data_of(inputs: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprints of the data in the inputs of a step: config key → digest."""
    arguments = inputs.get("arguments", {}).items()
    return {name.removesuffix(DATA): value for name, value in arguments if name.endswith(DATA)}


def _stage_metrics(stage: str, metrics: Mapping[str, float] | None) -> dict[str, float]:
    return {f"{stage}.{name}": value for name, value in (metrics or {}).items()}
