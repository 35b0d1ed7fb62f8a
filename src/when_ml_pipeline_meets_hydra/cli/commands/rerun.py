"""``runs rerun``: repeat a recorded run, or the config of a job that was logged to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.composing.tree import STAGES
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import MASK
from when_ml_pipeline_meets_hydra.records.lookup import find_record
from when_ml_pipeline_meets_hydra.records.record import Record

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.cli.output.plain_lines import OutputObserver
    from when_ml_pipeline_meets_hydra.composing.recorded import Recorded, RecordedJob
    from when_ml_pipeline_meets_hydra.runs import Run

_FILES = (".yaml", ".yml", ".json")
_MOST = 20  # differing values that are listed


def rerun(
    run: Annotated[str, typer.Argument(help="A run's id, a unique part of it, 'last', or a YAML file with a config")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Values to set, such as secrets")] = None,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Compose the overrides anew, with the option files as they are now")
    ] = False,
    job: Annotated[
        int | None, typer.Option("--job", min=0, help="Only this job; with c=STAGE, up to that stage")
    ] = None,
    best: Annotated[
        bool,
        typer.Option("--best", help="Deploy the best combination of a sweep: --best c=deployment objective.metric=…"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each event")] = False,
) -> None:
    """Repeat a run with the recorded config of each job, and compare the metrics.

    Stored steps are not computed again.
    """
    from when_ml_pipeline_meets_hydra.cli.output import output_observer

    repetition = _repetition(run, overrides or [], as_written=as_written, selection=Selection(job=job, best=best))
    with output_observer(as_json=as_json) as observer:
        done = repetition.run(observer)
    raise typer.Exit(int(done.exit_code))


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """A request, and the record whose metrics are to be reproduced."""

    request: Request
    record: Record | None = None

    def run(self, observer: OutputObserver) -> Run:
        """Run it, and report the differences."""
        from when_ml_pipeline_meets_hydra.pipeline import run_request
        from when_ml_pipeline_meets_hydra.records.reproduced import reproduction

        for line in _changed(self.record, self.request) if self.record and not self.request.recorded else ():
            observer.note(line)
        done = run_request(self.request, observer)
        for line in reproduction(self.record, done.record).lines() if self.record else ():
            observer.note(line)
        return done


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The jobs of a sweep that are repeated: one of them, or one for each combination, of which the best goes on."""

    job: int | None = None
    best: bool = False

    def of(self, jobs: Iterable[RecordedJob], stage: str | None, record: Record) -> list[RecordedJob]:
        """Return the selected jobs, with ``stage`` in place of their own. Raises ``BadInput`` for an unknown job."""
        found = [job for job in jobs if self.job is None or job.number == self.job]
        if not found:
            last = record.head["job_count"] - 1
            message = f"the run has the jobs 0 to {last}" if last else "the run has only the job 0"
            raise BadInput(Problem(key="--job", value=str(self.job), message=message))
        if stage is None:
            return found
        first = {job.combination: job for job in reversed(found)}
        return [_up_to(job, stage) for job in sorted(first.values(), key=lambda job: job.number)]


def _up_to(job: RecordedJob, stage: str) -> RecordedJob:
    overrides = (f"{STAGES}={stage}", *(line for line in job.overrides if _key(line) != STAGES))
    return replace(job, stage=stage, overrides=overrides, config={**job.config, STAGES: {"name": stage}})


def _repetition(run: str, overrides: Sequence[str], *, as_written: bool, selection: Selection) -> Repetition:
    if selection.best and selection.job is not None:
        message, remedy = "chooses among the jobs, and --job names one", "Leave out one of them"
        raise BadInput(Problem(key="--best", message=message, remedy=remedy))
    if selection != Selection() and (as_written or run.endswith(_FILES)):
        flag = "--best" if selection.best else "--job"
        raise BadInput(Problem(key=flag, message="is for the recorded jobs of a run, not for a file or --as-written"))
    if run.endswith(_FILES):
        if as_written:
            message = "a file has no overrides that could be composed anew"
            raise BadInput(Problem(key="--as-written", message=message))
        return _of_file(Path(run), overrides)
    record = find_record(home(), run)
    if "search" in record.head and selection.job is None:
        message = f"the run {record.id} was a search, whose trials follow from one another"
        remedy = "Give its command again to go on with it, or --job N to repeat a trial"
        raise BadInput(Problem(key=run, message=message, remedy=remedy))
    return _as_written(record, overrides) if as_written else of_record(record, overrides, selection)


def of_record(record: Record, overrides: Sequence[str], selection: Selection | None = None) -> Repetition:
    """Return the repetition of a run with its recorded configs, in which ``overrides`` set values.

    ``c=STAGE`` among them is the stage of the selected jobs.
    """
    selection = selection or Selection()
    stage = next((line.partition("=")[2] for line in reversed(overrides) if _key(line) == STAGES), None)
    if stage and selection == Selection():
        raise BadInput(Problem(key=STAGES, message="is for a part of the run", remedy="Add --job N or --best"))
    overrides = [line for line in overrides if _key(line) != STAGES]
    if selection.best:
        _check_objective(record, overrides)
    requested = record.request
    before = Path(record.head["folder"])
    folders = tuple(entry if "://" in entry else str(before / entry) for entry in requested.config_dirs)
    kept = _without(requested.overrides, overrides)
    hydra = [line for line in kept if line.lstrip("+~").startswith("hydra")]
    _refuse_masked(hydra)
    jobs = selection.of(recorded_jobs(record), stage, record)
    request = Request(
        overrides=(*kept, *overrides),
        multirun=requested.multirun,
        config_dirs=folders,
        recorded=_recorded(jobs, record.id, f"run {record.id}", (*hydra, *overrides)),
    )
    if selection.best:
        _check_deployments(request)
    return Repetition(request=request, record=record)


def _check_objective(record: Record, overrides: Sequence[str]) -> None:
    recorded = record.head.get("objective") or {}
    if not recorded.get("metric") and not any(_key(line).startswith("objective") for line in overrides):
        message = "the run has no objective by which the best could be chosen"
        raise BadInput(Problem(key="--best", message=message, remedy="Name a metric: objective.metric=…"))


def _check_deployments(request: Request) -> None:
    from when_ml_pipeline_meets_hydra.pipeline import run_request

    plan = run_request(request).plan
    if not any((claim := step.call.claim) and claim.exclusive for step in plan.steps):
        raise BadInput(Problem(key="--best", message="none of these jobs deploys anything", remedy="Add c=deployment"))


def recorded_jobs(record: Record) -> Iterator[RecordedJob]:
    """Yield the recorded jobs of a run; their home folder is the one of the record."""
    from when_ml_pipeline_meets_hydra.composing.recorded import RecordedJob

    place = str(record.folder.parent.parent.absolute())
    for job, (_, config) in zip(record.jobs(), record.configs(), strict=True):
        yield RecordedJob(
            number=job["number"],
            stage=job["stage"],
            config={**config, "home": place},
            combination=job["combination"],
            overrides=tuple(job["overrides"]),
            choices=job["choices"],
            variables=job.get("variables", {}),
        )


def _of_file(file: Path, overrides: Sequence[str]) -> Repetition:
    from when_ml_pipeline_meets_hydra.composing.recorded import read_logged

    job = read_logged(file)
    job = replace(job, config={**job.config, "home": str(home().absolute())})
    recorded = _recorded([job], str(file), str(file), overrides)
    return Repetition(request=Request(overrides=(f"c={job.stage}", *overrides), recorded=recorded))


def _recorded(jobs: Iterable[RecordedJob], source: str, place: str, overrides: Iterable[str]) -> Recorded:
    from when_ml_pipeline_meets_hydra.composing.recorded import Recorded

    return Recorded(jobs=tuple(jobs), source=source, place=place, overrides=tuple(overrides))


def _as_written(record: Record, overrides: Sequence[str]) -> Repetition:
    if str(repeats := record.head.get("repeats", "")).endswith(_FILES):
        message = f"the run repeats the file {repeats}, which has no overrides that could be composed anew"
        raise BadInput(Problem(key="--as-written", message=message))
    requested = record.request
    repeated = _without(requested.overrides, overrides)
    _refuse_masked(repeated)
    return Repetition(request=replace(requested, overrides=(*repeated, *overrides)), record=record)


def _changed(record: Record, request: Request) -> Iterator[str]:
    """Yield a line for each value that option files or overrides have changed since the run."""
    from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
    from when_ml_pipeline_meets_hydra.cache.compositions import compose
    from when_ml_pipeline_meets_hydra.records.reproduced import changed_values

    composed = compose(request).without_problems()
    keys, redactor = find_secrets(composed)
    if len(composed.jobs) != (count := record.head["job_count"]):
        yield f"Composed anew: {len(composed.jobs)} jobs; run {record.id} had {count}"
        return
    lines: dict[str, list[int]] = {}
    for job, (_, config) in zip(composed.jobs, record.configs(), strict=True):
        for line in changed_values(config, redactor.tree(dict(job.config), keys)):
            lines.setdefault(line, []).append(job.number)
    for line, jobs in list(lines.items())[:_MOST]:
        where = "" if len(jobs) == count else f" (job {', '.join(map(str, jobs[:5]))}{', …' if len(jobs) > 5 else ''})"
        yield f"Composed anew: {line}{where}"
    if len(lines) > _MOST:
        yield f"Composed anew: {len(lines) - _MOST} more values differ"


def _without(recorded: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The recorded overrides, without those of keys that are given anew."""
    changed = {_key(line) for line in overrides}
    return [line for line in recorded if _key(line) not in changed]


def _refuse_masked(overrides: Sequence[str]) -> None:
    from when_ml_pipeline_meets_hydra.composing.recorded import NOT_KEPT

    if masked := [_key(line) for line in overrides if MASK in line]:
        raise BadInput(*(Problem(key=key, message=NOT_KEPT, remedy=f"Give it: {key}=…") for key in masked))


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~")
