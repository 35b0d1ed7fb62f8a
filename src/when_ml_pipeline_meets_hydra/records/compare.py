"""Records → the combinations of a sweep side by side: what differs between them, and what came of each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.settings import NAMES, Objective
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.execution.outcomes import Status, measured

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record

Cells = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]  # headings and rows
# The first one that occurs counts for a combination.
_STATUSES = (Status.FAILED, Status.INTERRUPTED, Status.SKIPPED, Status.NOT_RUN, Status.DONE, Status.STORED)
# Keys that are for the whole run, and change no result; and the stage, in which jobs of one combination differ.
FOR_THE_RUN = frozenset({"c", "hydra", *NAMES})
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A step that failed: its message, and the file that holds the whole of it."""

    step: str
    status: Status
    error: str
    log: str | None


@dataclass(frozen=True, kw_only=True)
class Combination:
    """The jobs of a run that differ in their stage only, and what came of them.

    ``values`` maps what was overridden to what it was: a group (``modeling/model``) to its option, a key to its
    resolved value. ``stages`` maps stages to the status of their steps, ``metrics`` ``<stage>.<metric>`` to its value.
    """

    run: str
    jobs: tuple[int, ...]
    values: Mapping[str, Any]
    stages: Mapping[str, Status]
    metrics: Mapping[str, float]
    status: Status

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "run": self.run,
            "jobs": list(self.jobs),
            "values": dict(self.values),
            "status": self.status,
            "stages": dict(self.stages),
            "metrics": dict(self.metrics),
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Combinations of one or several runs. ``keys`` are those in which they differ, ``metrics`` all that there are."""

    rows: tuple[Combination, ...]
    keys: tuple[str, ...]
    stages: tuple[str, ...]
    metrics: tuple[str, ...]
    objective: Objective = field(default_factory=Objective)
    failures: tuple[Failure, ...] = ()

    def metric(self, name: str) -> str:
        """The whole name of a metric (``r2`` is ``modeling.r2``). Raises ``BadInput`` where there is not just one."""
        found = [m for m in self.metrics if m == name] or [m for m in self.metrics if m.endswith(f".{name}")]
        if len(found) == 1:
            return found[0]
        if found:
            message, remedy = f"several metrics have this name: {', '.join(found)}", "Give the whole name"
        else:
            message = "there is no such metric" if self.metrics else "no step measured anything"
            remedy = did_you_mean(name, [*self.metrics, *_short(self.metrics).values()]) or ""
        raise BadInput(Problem(key="metric", value=name, message=message, remedy=remedy or None))

    def sorted(self, objective: Objective) -> Comparison:
        """The best combination first, those that have no value last. Raises ``BadInput`` for an unknown metric."""
        if objective.metric is None:
            return replace(self, objective=objective)
        metric, sign = self.metric(objective.metric), -1 if objective.direction == "maximize" else 1

        def place(row: Combination) -> tuple[bool, float]:
            value = row.metrics.get(metric, math.nan)
            return (True, 0) if math.isnan(value) else (False, sign * value)

        return replace(self, objective=objective, rows=tuple(sorted(self.rows, key=place)))

    def table(self, rows: Sequence[Combination], width: int | None = None) -> Cells:
        """Headings, as short as they can be, and the cells of some of the rows.

        Where that takes more than ``width`` characters, one status of each combination stands for those of its stages.
        """
        found = self._table(rows, self.stages)
        wide = sum(max(map(len, column)) + 2 for column in zip(found[0], *found[1], strict=True)) - 2
        return found if width is None or wide <= width else self._table(rows, None)

    def _table(self, rows: Sequence[Combination], stages: Sequence[str] | None) -> Cells:
        several = len({r.run for r in self.rows}) > 1
        statuses = ("status",) if stages is None else tuple(stages)
        short = _short((*self.keys, *self.metrics), taken=(*statuses, "run", "jobs"))
        names = *(("run",) if several else ()), "jobs", *(short[k] for k in self.keys), *statuses
        cells = [(*((row.run,) if several else ()), *self._cells(row, stages)) for row in rows]
        return (*names, *(short[m] for m in self.metrics)), cells

    def _cells(self, row: Combination, stages: Sequence[str] | None) -> Iterator[str]:
        yield _span(row.jobs)
        yield from (shown(row.values.get(key)) for key in self.keys)
        yield from [row.status] if stages is None else (row.stages.get(stage, "") for stage in stages)
        yield from (measured(row.metrics[m]) if m in row.metrics else "" for m in self.metrics)


def compare(records: Iterable[Record]) -> Comparison:
    """The combinations of some runs, in the order of their jobs."""
    drafts = [draft for record in records for draft in _drafts(record)]
    keys = [k for k in dict.fromkeys(k for d in drafts for k in d.words) if len({d.words.get(k) for d in drafts}) > 1]
    rows = tuple(draft.combination(keys) for draft in drafts)
    # What is written in two ways (1e-3 and 0.001) may be the same.
    keys = [key for key in keys if len({json.dumps(row.values.get(key), default=str) for row in rows}) > 1]
    return Comparison(
        rows=tuple(replace(row, values={k: row.values.get(k) for k in keys}) for row in rows),
        keys=tuple(keys),
        stages=tuple(dict.fromkeys(stage for row in rows for stage in row.stages)),
        metrics=tuple(dict.fromkeys(metric for row in rows for metric in row.metrics)),
        failures=tuple(dict.fromkeys(failure for draft in drafts for failure in draft.failures)),
    )


def objective_of(record: Record) -> Objective:
    """By what a run was to be sorted."""
    return Objective(**(record.head.get("objective") or {}))


def shown(value: Any) -> str:
    """A value as on the command line: ``small``, ``0.001``, ``[1,2]``, ``null``."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Draft:
    """A combination while it is gathered. ``words`` are its overrides: key → what was typed."""

    def __init__(self, record: Record, words: Mapping[str, str], choices: Mapping[str, str]) -> None:
        self.record, self.words, self.choices = record, words, choices
        self.jobs: dict[int, str] = {}  # with the keys of their own steps
        self.ended: set[str] = set()
        self.stages: dict[str, Status] = {}
        self.metrics: dict[str, float] = {}
        self.failures: list[Failure] = []
        self.config: Mapping[str, Any] = {}

    def add(self, step: Mapping[str, Any]) -> None:
        self.ended.add(step["key"])
        self.stages[step["stage"]] = Status(step["status"])
        self.metrics |= {f"{step['stage']}.{name}": value for name, value in (step["metrics"] or {}).items()}
        if step["error"]:
            log = str(self.record.folder / step["log"]) if step["log"] else None
            name = f"{step['stage']} {step['subcommand']}"
            self.failures.append(Failure(step=name, status=Status(step["status"]), error=step["error"], log=log))

    def combination(self, keys: Iterable[str]) -> Combination:
        found = {*self.stages.values(), *([Status.NOT_RUN] if set(self.jobs.values()) - self.ended else [])}
        return Combination(
            run=self.record.id,
            jobs=tuple(self.jobs),
            values={key: self._value(key) for key in keys},
            stages=self.stages,
            metrics=self.metrics,
            status=next((s for s in _STATUSES if s in found), Status.NOT_RUN),
        )

    def _value(self, key: str) -> Any:
        found = self.choices.get(key, self.choices.get(key.partition("@")[0]))
        return _look_up(self.config, key) if found is None else found


def _drafts(record: Record) -> list[_Draft]:
    drafts: dict[int, _Draft] = {}
    of_job: dict[int, _Draft] = {}
    for job in record.jobs():
        place = job["combination"]
        if place not in drafts:
            drafts[place] = _Draft(record, dict(_words(job["overrides"])), job["choices"])
        drafts[place].jobs[job["number"]] = job["key"]
        of_job[job["number"]] = drafts[place]
    for step in record.steps:
        for draft in dict.fromkeys(of_job[number] for number in step["jobs"]):
            draft.add(step)
    first = {next(iter(draft.jobs)): draft for draft in drafts.values()}
    for number, config in record.configs(first):
        first[number].config = config
    return list(drafts.values())


def _words(overrides: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in overrides:
        key, _, value = line.partition("=")
        name = key.lstrip("+~")
        if re.split(r"[.\[/@]", name)[0] not in FOR_THE_RUN or name.startswith("c/"):
            yield name, "" if key.startswith("~") else value


def _look_up(config: Any, key: str) -> Any:
    node = config
    for part in _INDEX.sub(r".\1", key).split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return None
    return node


def _short(names: Iterable[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """The shortest ends of names that tell them apart: ``model``, ``learning_rate``, ``preprocessing/param``."""
    names = list(names)
    return {name: next(e for e in _ends(name) if e == name or _is_only(e, name, names, taken)) for name in names}


def _ends(name: str) -> Iterator[str]:
    starts = [found.end() for found in re.finditer(r"[./]", name)]
    yield from (name[start:] for start in reversed([0, *starts]))


def _is_only(end: str, name: str, names: Iterable[str], taken: Sequence[str]) -> bool:
    return end not in taken and not any(end in _ends(other) for other in names if other != name)


def _span(jobs: Sequence[int]) -> str:
    """``0-2`` or ``0,12,24``."""
    if len(jobs) > 2 and list(jobs) == list(range(jobs[0], jobs[-1] + 1)):
        return f"{jobs[0]}-{jobs[-1]}"
    return ",".join(map(str, jobs))
