"""Convert the record of a run to what trackers show: a run for each combination, and a parent for a sweep."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.records.record import Record, RunStatus
from when_ml_pipeline_meets_hydra.records.trials import numbers_by_job
from when_ml_pipeline_meets_hydra.tracking.partial_scores import FILE, read_partial_scores
from when_ml_pipeline_meets_hydra.tracking.processes import FOLDER
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import Row, TrackedRun

_NUMBERED = re.compile(r"(.+) (\d+)/\d+")  # the name of an element of several: fold 2/5
_WORST_FIRST = (Status.FAILED, Status.INTERRUPTED, Status.PRUNED, Status.SKIPPED, Status.NOT_RUN, Status.NOT_CHOSEN)


@dataclass(kw_only=True)
class _Combination:
    """The jobs of a combination, and the steps of theirs that have ended."""

    number: int
    jobs: dict[int, str | None] = field(default_factory=dict)  # number → key of the job's own step
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    running: list[Mapping[str, Any]] = field(default_factory=list)  # partial scores of the others
    overrides: list[str] = field(default_factory=list)
    choices: Mapping[str, str] = field(default_factory=dict)


class TrackedRecord:
    """The runs of a record, read again whenever they are wanted. ``artifacts`` names the stages whose files count."""

    def __init__(self, record: Record, artifacts: Collection[str]) -> None:
        self._record, self._artifacts = record, artifacts
        self._configs: dict[int, Mapping[str, Any]] = {}
        self._ends: dict[int, float] = {}  # of combinations that ended before the run did

    def runs(self) -> Iterator[TrackedRun]:
        """Yield the parent, if there are several combinations, and each combination."""
        self._record = Record(self._record.folder)
        combinations = self._combinations()
        if parent := self._parent(combinations):
            yield parent
        for combination in combinations:
            yield self._run(combination, parent)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will be added to the record."""
        return Record(self._record.folder).status is not RunStatus.RUNNING

    def _combinations(self) -> list[_Combination]:
        found: dict[int, _Combination] = {}
        of_job: dict[int, _Combination] = {}
        for job in self._record.jobs():
            entry = found.setdefault(job["combination"], _Combination(number=job["combination"]))
            entry.jobs[job["number"]] = job["key"]
            entry.overrides, entry.choices = job["overrides"], job["choices"]
            of_job[job["number"]] = entry
        ended = set()
        for line in self._record.steps:
            ended.add(line["key"])
            for entry in _of(line, of_job):
                entry.lines.append(line)
        for line in read_partial_scores(self._record.folder / FOLDER / FILE):
            for entry in _of(line, of_job) if line["key"] not in ended else ():
                entry.running.append(line)
        missing = {max(c.jobs) for c in found.values()} - self._configs.keys()
        self._configs |= self._record.configs(missing) if missing else ()
        return list(found.values())

    def _parent(self, combinations: Collection[_Combination]) -> TrackedRun | None:
        head, is_search = self._record.head, "search" in self._record.head
        if len(combinations) < 2 and not is_search:
            return None
        study = head.get("study") or {}
        report = {"report.html": Path(study["report"])} if study.get("report") else {}
        more = {"counts": head.get("counts"), "study": study or None, "combinations": len(combinations)}
        return TrackedRun(
            id=self._id("all"),
            run=self._record.id,
            name=study.get("name") or self._record.id,
            is_parent=True,
            facts={**self._facts(), **{name: value for name, value in more.items() if value is not None}},
            files={name: file for name, file in report.items() if file.is_file()},
            status=self._record.status.value,
            started=self._started,
            ended=self._ended,
        )

    def _run(self, combination: _Combination, parent: TrackedRun | None) -> TrackedRun:
        trials = numbers_by_job(self._record.trials)(self._record.id, combination.jobs)
        facts = {"overrides": combination.overrides, "choices": combination.choices}
        facts |= {"trial": ",".join(map(str, trials))} if trials else {}
        if self._ended is None and self._is_over(combination):
            self._ends.setdefault(combination.number, self._last_end)
        ended = self._ends.get(combination.number, self._ended)
        return TrackedRun(
            id=self._id(str(combination.number)),
            run=self._record.id,
            name=_name(self._record.id, combination.number, trials) if parent else self._record.id,
            parent=parent.id if parent else None,
            config=self._configs[max(combination.jobs)],
            metrics=_metrics(combination.lines),
            rows=[row for line in (*combination.lines, *combination.running) for row in _rows(line)],
            facts={**self._facts(), **facts},
            files=dict(self._files(combination.lines)),
            status=_status(combination.lines, self._record.status) if ended else RunStatus.RUNNING.value,
            started=self._started,
            ended=ended,
        )

    def _facts(self) -> dict[str, Any]:
        head = self._record.head
        words = [*head["overrides"], *(["--multirun"] if head["multirun"] else [])]
        words += [word for folder in head["config_dirs"] for word in ("--config-dir", folder)]
        kept = ("overrides", "git", "versions", "stages", "folder", "objective", "scores", "repeats")
        return {"command": shlex.join(["wmh", *words]), **{name: head[name] for name in kept if head.get(name)}}

    def _files(self, lines: Collection[Mapping[str, Any]]) -> Iterator[tuple[str, Path]]:
        """Yield the stored files of the stages that were chosen."""
        store = self._record.folder.parent.parent / "store"
        for line in lines:
            if line["stage"] in self._artifacts and not line.get("element") and line["status"] in ("done", "stored"):
                folder = store / line["key"][:2] / line["key"] / "files"
                if folder.is_dir():
                    yield line["stage"], folder

    def _is_over(self, combination: _Combination) -> bool:
        """Whether all steps of a combination have ended; a search may go on with any of them."""
        ended = {line["key"] for line in combination.lines}
        return "search" not in self._record.head and ended.issuperset(filter(None, combination.jobs.values()))

    def _id(self, part: str) -> str:
        """Return an id that no other run of any machine has."""
        head = self._record.head
        origin = json.dumps([self._record.id, head["process"], head["started"]])
        return f"{self._record.id}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}-{part}"

    @property
    def _started(self) -> float:
        return datetime.fromisoformat(self._record.head["started"]).timestamp()

    @property
    def _ended(self) -> float | None:
        """When the run ended; of a killed one, when its record was last written."""
        if self._record.status is RunStatus.RUNNING:
            return None
        seconds = self._record.head["seconds"]
        return self._last_end if seconds is None else self._started + seconds

    @property
    def _last_end(self) -> float:
        return (self._record.folder / "steps.jsonl").stat().st_mtime


def _of(line: Mapping[str, Any], of_job: Mapping[int, _Combination]) -> Collection[_Combination]:
    """Return the combinations, each once, that a step belongs to."""
    return {id(of_job[number]): of_job[number] for number in line["jobs"] if number in of_job}.values()


def _name(run: str, number: int, trials: Collection[int]) -> str:
    return f"{run} trial {','.join(map(str, trials))}" if trials else f"{run} {number}"


def _metrics(lines: Collection[Mapping[str, Any]]) -> dict[str, float]:
    whole = (line for line in lines if not line.get("element"))
    return {f"{line['stage']}.{name}": value for line in whole for name, value in (line["metrics"] or {}).items()}


def _rows(line: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the score of an element, such as a fold, and the partial scores: ``modeling.fold.r2``, at step 2."""
    stage, element = line["stage"], line.get("element")
    numbered = _NUMBERED.fullmatch(element) if element else None
    if element and line.get("metrics"):
        name, step = (numbered[1], int(numbered[2])) if numbered else (element, 0)
        yield Row(step, {f"{stage}.{name}.{metric}": value for metric, value in line["metrics"].items()})
    by_step: dict[int, dict[str, float]] = {}
    place = f"{stage}.{numbered[1]} {numbered[2]}" if numbered else f"{stage}.{element}" if element else stage
    for metric, points in (line.get("partial_scores") or {}).items():
        for step, value in points:
            by_step.setdefault(step, {})[f"{place}.partial.{metric}"] = float("nan") if value is None else value
    yield from (Row(step, values) for step, values in by_step.items())


def _status(lines: Collection[Mapping[str, Any]], status: RunStatus) -> str:
    """Return the worst status of the steps of a combination; that of a run that ended too early counts as well."""
    found = {line["status"] for line in lines}
    worst = next((name.value for name in _WORST_FIRST if name in found), None)
    is_cut = status in (RunStatus.KILLED, RunStatus.INTERRUPTED)
    return worst or (status.value if is_cut else RunStatus.DONE.value)
