"""Compare the combinations of runs: the config keys in which they differ, their status and their metrics."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.call import title_of
from when_ml_pipeline_meets_hydra.binding.settings import NAMES, Objective
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.execution.outcomes import Status, format_metric
from when_ml_pipeline_meets_hydra.records.short_names import short_names
from when_ml_pipeline_meets_hydra.records.trials import INFEASIBLE, numbers_by_job, standing_of

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record

Cells = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]  # headings and rows
# The status of a combination is the first of these that one of its steps has.
_STATUSES = (
    *(Status.FAILED, Status.INTERRUPTED, Status.PRUNED, Status.SKIPPED, Status.NOT_RUN),
    *(Status.NOT_CHOSEN, Status.DONE, Status.STORED),
)
# Keys of the whole run, which do not change results; and the stage, in which the jobs of a combination differ.
RUN_KEYS = frozenset({"c", "hydra", *NAMES})
_MISSING = object()
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed step: the message, and the path of the log with the traceback."""

    step: str
    status: Status
    error: str
    log: str | None


@dataclass(frozen=True, kw_only=True)
class Combination:
    """The jobs of a run that differ in their stage only, with status and metrics.

    ``values`` maps the overridden groups (``modeling/model``) to their options, and overridden keys to resolved values.
    ``stages`` maps stages to the status of their steps, ``metrics`` maps ``<stage>.<metric>`` to its value, and
    ``deviations`` to its standard deviation, if it is a mean. ``trials`` are the numbers of the trials of a search, and
    ``standing`` is ``front`` on its Pareto front, and ``infeasible`` where one breaks a constraint; otherwise empty.
    Keys that it does not have are missing in ``values``.
    """

    run: str
    jobs: tuple[int, ...]
    values: Mapping[str, Any]
    stages: Mapping[str, Status]
    metrics: Mapping[str, float]
    status: Status
    deviations: Mapping[str, float] = field(default_factory=dict)
    trials: tuple[int, ...] = ()
    standing: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the combination as JSON values."""
        return {
            "run": self.run,
            "jobs": list(self.jobs),
            **({"trials": list(self.trials)} if self.trials else {}),
            **({"standing": self.standing} if self.standing else {}),
            "values": dict(self.values),
            "status": self.status,
            "stages": dict(self.stages),
            "metrics": dict(self.metrics),
            **({"deviations": dict(self.deviations)} if self.deviations else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Combinations of one or several runs; ``keys`` are those in which they differ, ``metrics`` those of any step.

    ``scores`` maps stages to what their metrics are called in tables.
    """

    rows: tuple[Combination, ...]
    keys: tuple[str, ...]
    stages: tuple[str, ...]
    metrics: tuple[str, ...]
    objective: Objective = field(default_factory=Objective)
    failures: tuple[Failure, ...] = ()
    scores: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_trials(self) -> bool:
        """Whether any of the runs is a search."""
        return any(row.trials for row in self.rows)

    def shown(self, metric: str) -> str:
        """Return the name of a metric in tables: ``test.r2`` of ``modeling.r2``."""
        stage, _, name = metric.rpartition(".")
        return f"{self.scores.get(stage, stage)}.{name}"

    def metric(self, name: str) -> str:
        """Return the full name of a metric (``modeling.r2`` of ``r2``). Raises ``BadInput`` unless one matches."""
        found = [m for m in self.metrics if name in (m, self.shown(m))]
        found = found or [m for m in self.metrics if m.endswith(f".{name}")]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(map(self.shown, found))
            message, remedy = f"several metrics have this name: {names}", "Give the whole name"
        else:
            message = "there is no such metric" if self.metrics else "no step measured anything"
            remedy = did_you_mean(name, [*self.metrics, *short_names(self.metrics).values()]) or ""
        raise BadInput(Problem(key="metric", value=name, message=message, remedy=remedy or None))

    def heading(self, name: str) -> str:
        """Return the shortest unique name of a metric, as in the heading of a table."""
        metric = self.shown(self.metric(name))
        return self._short(())[metric]

    @property
    def _of_trials(self) -> tuple[str, ...]:
        """The columns of a search."""
        if not self.has_trials:
            return ()
        return ("trials", "standing") if any(row.standing for row in self.rows) else ("trials",)

    def _short(self, taken: Sequence[str]) -> dict[str, str]:
        """The names of keys and metrics as headings; whole ones of metrics in a search, of which not all are tested."""
        metrics = [self.shown(metric) for metric in self.metrics]
        if self.has_trials:
            return short_names(self.keys, taken=taken) | {metric: metric for metric in metrics}
        return short_names((*self.keys, *metrics), taken=taken)

    def sorted(self, objective: Objective) -> Comparison:
        """Return a copy sorted from best to worst, missing values last. Raises ``BadInput`` for an unknown metric."""
        if objective.metric is None:
            return replace(self, objective=objective)
        metric, sign = self.metric(objective.metric), 1 if objective.direction == "minimize" else -1

        def place(row: Combination) -> tuple[bool, bool, float]:
            value, is_broken = row.metrics.get(metric, math.nan), row.standing == INFEASIBLE
            return (True, is_broken, 0) if math.isnan(value) else (False, is_broken, sign * value)

        return replace(self, objective=objective, rows=tuple(sorted(self.rows, key=place)))

    def table(self, rows: Sequence[Combination], width: int | None = None) -> Cells:
        """Return headings, as short as possible, and the cells of some of the rows.

        If that is wider than ``width`` characters, one column ``status`` replaces those of the stages.
        """
        found = self._table(rows, self.stages)
        return found if width is None or _width(found) <= width else self._table(rows, None)

    def fitting(self, rows: Sequence[Combination], width: int | None) -> Comparison:
        """Return a copy that has of the metrics only that of the objective, of each stage, if all are too wide."""
        if width is None or self.objective.metric is None or _width(self.table(rows, width)) <= width:
            return self
        name = self.metric(self.objective.metric).rpartition(".")[2]
        return replace(self, metrics=tuple(m for m in self.metrics if m.rpartition(".")[2] == name))

    def _table(self, rows: Sequence[Combination], stages: Sequence[str] | None) -> Cells:
        several = len({r.run for r in self.rows}) > 1
        statuses = ("status",) if stages is None else tuple(stages)
        metrics = [self.shown(m) for m in self.metrics]
        short = self._short((*statuses, "run", "jobs", "trials", "standing"))
        trials = self._of_trials
        names = *(("run",) if several else ()), "jobs", *trials, *(short[k] for k in self.keys), *statuses
        cells = [(*((row.run,) if several else ()), *self._cells(row, stages)) for row in rows]
        return (*names, *(short[m] for m in metrics)), cells

    def _cells(self, row: Combination, stages: Sequence[str] | None) -> Iterator[str]:
        yield _span(row.jobs)
        if self._of_trials:
            yield ",".join(str(number) if number >= 0 else "earlier" for number in row.trials)
        if self._of_trials[1:]:
            yield row.standing
        yield from (format_value(rounded(row.values[key])) if key in row.values else "" for key in self.keys)
        yield from [row.status] if stages is None else (row.stages.get(stage, "") for stage in stages)
        values, deviations = row.metrics, row.deviations
        yield from (format_metric(values[m], deviations.get(m)) if m in values else "" for m in self.metrics)


def _width(cells: Cells) -> int:
    """The width of a table in characters, two of them between columns."""
    return sum(max(map(len, column)) + 2 for column in zip(cells[0], *cells[1], strict=True)) - 2


def compare(records: Iterable[Record]) -> Comparison:
    """Return the combinations of some runs, in the order of their jobs."""
    records = list(records)
    of_records = [(record, _drafts(record)) for record in records]
    drafts = [draft for _, found in of_records for draft in found]
    overridden = dict.fromkeys(key for draft in drafts for key in draft.overrides)
    keys = [key for key in overridden if len({draft.overrides.get(key) for draft in drafts}) > 1]
    for record, found in of_records:
        _read_values(record, found, keys)
    rows = tuple(draft.combination() for draft in drafts)
    # Overrides that are written differently (1e-3 and 0.001) may have the same value.
    keys = [key for key in keys if len({json.dumps(row.values.get(key), default=str) for row in rows}) > 1]
    return Comparison(
        rows=tuple(replace(row, values={k: row.values[k] for k in keys if k in row.values}) for row in rows),
        keys=tuple(keys),
        stages=tuple(dict.fromkeys(stage for row in rows for stage in row.stages)),
        metrics=tuple(dict.fromkeys(metric for row in rows for metric in row.metrics)),
        failures=tuple(dict.fromkeys(failure for draft in drafts for failure in draft.failures)),
        scores={stage: name for record in records for stage, name in record.head.get("scores", {}).items()},
    )


def objective_of(record: Record) -> Objective:
    """Return the objective of a run."""
    found = dict(record.head.get("objective") or {})
    return Objective(**{**found, "constraints": tuple(found.get("constraints", ()))})


def format_value(value: Any) -> str:
    """Return a value in the notation of overrides: ``small``, ``0.001``, ``[1,2]``, ``null``."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def rounded(value: Any) -> Any:
    """Return a number with at most six significant digits, for a table; any other value as it is."""
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


class _Draft:
    """A combination that is being read from a record. ``overrides``: key → value as it was typed."""

    def __init__(self, record: Record, overrides: Mapping[str, str], choices: Mapping[str, str]) -> None:
        self.record, self.overrides, self.choices = record, overrides, choices
        self.jobs: dict[int, str] = {}  # with the keys of their own steps
        self.ended: set[str] = set()
        self.stages: dict[str, Status] = {}
        self.metrics: dict[str, float] = {}
        self.deviations: dict[str, float] = {}
        self.elements: set[Status] = set()
        self.failures: list[Failure] = []
        self.values: Mapping[str, Any] = {}
        self.trials: tuple[int, ...] = ()
        self.standing = ""

    def add(self, step: Mapping[str, Any]) -> None:
        self.ended.add(step["key"])
        status = Status(step["status"])
        if step.get("element"):  # a part of what another step gathers
            self.elements |= {status} & {Status.FAILED, Status.INTERRUPTED, Status.PRUNED}
        else:
            self.stages[step["stage"]] = status
            for known, name in ((self.metrics, "metrics"), (self.deviations, "deviations")):
                known |= {f"{step['stage']}.{metric}": value for metric, value in (step.get(name) or {}).items()}
        if step["error"]:
            log = str(self.record.folder / step["log"]) if step["log"] else None
            name = title_of(step["stage"], step["subcommand"], step.get("element"))
            self.failures.append(Failure(step=name, status=status, error=step["error"], log=log))

    def read(self, config: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Take the values of some keys; a config is much larger than these."""
        self.values = {key: value for key in keys if (value := self._value(config, key)) is not _MISSING}

    def combination(self) -> Combination:
        not_run = {Status.NOT_RUN} if set(self.jobs.values()) - self.ended else set()
        found = {*self.stages.values(), *self.elements, *not_run}
        return Combination(
            run=self.record.id,
            jobs=tuple(self.jobs),
            values=self.values,
            stages=self.stages,
            metrics=self.metrics,
            deviations=self.deviations,
            trials=self.trials,
            standing=self.standing,
            status=next((s for s in _STATUSES if s in found), Status.NOT_RUN),
        )

    def _value(self, config: Mapping[str, Any], key: str) -> Any:
        found = self.choices.get(key, self.choices.get(key.partition("@")[0]))
        return look_up(config, key, _MISSING) if found is None else found


def _drafts(record: Record) -> list[_Draft]:
    drafts: dict[int, _Draft] = {}
    of_job: dict[int, _Draft] = {}
    for job in record.jobs():
        place = job["combination"]
        if place not in drafts:
            drafts[place] = _Draft(record, dict(_overrides(job["overrides"])), job["choices"])
        drafts[place].jobs[job["number"]] = job["key"]
        of_job[job["number"]] = drafts[place]
    for step in record.steps:
        for draft in dict.fromkeys(of_job[number] for number in step["jobs"]):
            draft.add(step)
    of_jobs = numbers_by_job(record.trials)
    standings = {t.number: standing_of(t) for t in record.trials}
    for draft in drafts.values():
        draft.trials = of_jobs(record.id, draft.jobs) or _of_the_best(record, draft.jobs)
        draft.standing = next((found for n in draft.trials if (found := standings.get(n))), "")
    return list(drafts.values())


def _read_values(record: Record, drafts: Iterable[_Draft], keys: Sequence[str]) -> None:
    first = {next(iter(draft.jobs)): draft for draft in drafts}
    for number, config in record.configs(first) if keys else ():
        first[number].read(config, keys)


def _of_the_best(record: Record, jobs: Iterable[int]) -> tuple[int, ...]:
    """The number of the best trial, if the jobs have gone on with one that an earlier run of the study has run."""
    study = record.head.get("study") or {}
    return (study["best"]["trial"],) if study.get("best") and study.get("job") in tuple(jobs) else ()


def _overrides(overrides: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in overrides:
        key, _, value = line.partition("=")
        name = key.lstrip("+~")
        if re.split(r"[.\[/@]", name)[0] not in RUN_KEYS or name.startswith("c/"):
            yield name, "" if key.startswith("~") else value


def look_up(config: Any, key: str, default: Any = None) -> Any:
    """Return the value of a key, such as ``a.b[0]``; None if there is none."""
    node = config
    for part in _INDEX.sub(r".\1", key).split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return default
    return node


def _span(jobs: Sequence[int]) -> str:
    """Return the numbers of jobs as text: ``0-2`` or ``0,12,24``."""
    if len(jobs) > 2 and list(jobs) == list(range(jobs[0], jobs[-1] + 1)):
        return f"{jobs[0]}-{jobs[-1]}"
    return ",".join(map(str, jobs))
