"""``runs``: list, show and compare recorded runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.binding.call import title_of
from when_ml_pipeline_meets_hydra.cli.arguments import flags_of
from when_ml_pipeline_meets_hydra.cli.output.consoles import console, print_json, print_rows
from when_ml_pipeline_meets_hydra.cli.output.formatting import metrics_text
from when_ml_pipeline_meets_hydra.cli.output.trials import search_facts, trial_table
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.lookup import find_record, record_of
from when_ml_pipeline_meets_hydra.records.partial_scores import as_text
from when_ml_pipeline_meets_hydra.records.record import Record

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.summaries import RunSummary
    from when_ml_pipeline_meets_hydra.records.where import Where

RunId = Annotated[str, typer.Argument(help="The run's id, a part of it that is unique, or 'last'")]
_MANY = 10  # jobs whose configs are shown one by one
AsJson = Annotated[bool, typer.Option("--json", help="For machines")]


def list_runs(
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many")] = 20,
    where: Annotated[
        str | None, typer.Option("--where", help="Which: 'm_param.learning_rate > 0.1 and modeling.r2 > 0.8'")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only those with this tag (may be repeated)")] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest last."""
    from when_ml_pipeline_meets_hydra.records.find_runs import find_runs

    found = find_runs(home(), _filters(where, tag or ()), last=last, left_out=_left_out)[::-1]
    if as_json:
        print_json(list(_contents(summary.id for summary in found)))
        return
    headings: tuple[str, ...] = ("id", "status", "seconds", "stages", "metrics")
    rows = [_row(summary) for summary in found]
    if any(summary.tags for summary in found):
        headings = (*headings, "tags")
        rows = [(*row, "\n".join(summary.tags)) for row, summary in zip(rows, found, strict=True)]
    print_rows(headings, rows)


def _filters(where: str | None, tags: Sequence[str]) -> list[Where]:
    if where is None and not tags:
        return []
    from when_ml_pipeline_meets_hydra.records.where import Where

    tagged = [Where(f"{json.dumps(tag)} in tags", "--tag") for tag in tags]
    return tagged if where is None else [Where(where), *tagged]


def _left_out(error: BadInput) -> None:
    print(f"Left out: {error}", file=sys.stderr)


def _contents(runs: Iterable[str]) -> Iterator[dict[str, Any]]:
    for run in runs:
        record = record_of(home(), run)
        try:
            yield {**record.content, "status": record.status}
        except BadInput as error:
            _left_out(error)


def show(
    run: RunId,
    job: Annotated[int | None, typer.Option("--job", min=0, help="The config of this job only")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one run: overrides, steps, versions, and the config of its jobs."""
    record = find_record(home(), run)
    if job is not None:
        _show_config(_config(record, job), as_json=as_json)
        return
    if as_json:
        trials = {"trials": [trial.as_json() for trial in record.trials]} if "study" in record.head else {}
        print_json({**record.content, "status": record.status, **trials, "configs": dict(record.configs())})
        return
    out = console(soft_wrap=True)
    head = {k: record.head[k] for k in ("id", "started", "seconds", "folder", "git")}
    requested = " ".join(_arguments(record))
    repeats = {"repeats": record.head["repeats"]} if "repeats" in record.head else {}
    stores = {"config_stores": record.head["config_stores"]} if "config_stores" in record.head else {}
    annotated = {"tags": list(record.tags), "note": record.note}
    head |= {name: value for name, value in annotated.items() if value}
    shown = {**head, "status": record.status.value, "requested": requested, **stores, **repeats, **search_facts(record)}
    out.print(dump_yaml(shown), markup=False, end="")
    print_rows(("step", "status", "seconds", "why", "metrics"), map(_step_row, record.steps))
    for step in record.steps:
        for name, points in (step.get("partial_scores") or {}).items():
            out.print(f"{_title(step)}: {as_text(name, points)}", markup=False)
        if step["error"]:
            out.print(f"{_title(step)}: {step['error']}", style="red", markup=False)
            out.print(f"  log: {record.folder / (step['log'] or 'logs')}", markup=False)
    if "study" in record.head:
        _show_trials(record)
        return
    count = record.head["job_count"]
    pairs = zip(record.jobs(), record.configs(), strict=True)
    for job_line, (number, config) in islice(pairs, None if count <= _MANY else 1):
        print(f"\n# config of job {number} (c={job_line['stage']})")
        _show_config(config)
    if count > _MANY:
        print(f"\n{count - 1} more jobs: runs show {record.id} --job N")


def _show_trials(record: Record) -> None:
    print()
    print_rows(*trial_table(record))
    best = record.head["study"].get("job")
    if best is None:
        best = next((t.job for t in record.trials if t.score is not None and t.run == record.id), None)
    shown = "N" if best is None else best
    print(f"\nThe config of {'a job' if best is None else 'the best of this run'}: runs show {record.id} --job {shown}")


def diff(a: RunId, b: RunId) -> None:
    """Show the differences of two runs: configs of equal stages, results and metrics, versions."""
    first, second = find_record(home(), a), find_record(home(), b)
    out = console(soft_wrap=True)
    lines = list(_differences(first, second))
    for line in lines:
        out.print(line, markup=False)
    if not lines:
        out.print("no differences")


def _differences(first: Record, second: Record) -> Iterator[str]:
    from when_ml_pipeline_meets_hydra.planning.plan import differences

    one, two = _configs(first), _configs(second)
    for stage in dict.fromkeys([*one, *two]):
        yield from (f"config of {stage}: {d}" for d in differences(one.get(stage, {}), two.get(stage, {})))
    yield from (f"step {d}" for d in differences(_keys(first), _keys(second)))
    yield from (f"metric {d}" for d in differences(first.metrics, second.metrics))
    yield from (f"version of {d}" for d in differences(first.head["versions"], second.head["versions"]))
    yield from (f"git {d}" for d in differences(first.head["git"] or {}, second.head["git"] or {}))


def _configs(record: Record) -> dict[str, Mapping[str, Any]]:
    several = len(record.head["stages"]) < record.head["job_count"]
    names = {j["number"]: f"{j['stage']} (job {j['number']})" if several else j["stage"] for j in record.jobs()}
    return {names[number]: config for number, config in record.configs()}


def _config(record: Record, job: int) -> Mapping[str, Any]:
    try:
        return record.config(job)
    except KeyError:
        message = f"the run has the jobs 0 to {record.head['job_count'] - 1}"
        raise BadInput(Problem(key="--job", value=str(job), message=message)) from None


def _show_config(config: Mapping[str, Any], *, as_json: bool = False) -> None:
    if as_json:
        print_json(config)
    else:
        sys.stdout.write(dump_yaml(config))


def _keys(record: Record) -> dict[str, str]:
    return {_title(step): step["key"][:12] for step in record.steps}


def _title(step: Mapping[str, Any]) -> str:
    return title_of(step["stage"], step["subcommand"], step.get("element"))


def _row(run: RunSummary) -> tuple[str, ...]:
    from when_ml_pipeline_meets_hydra.execution.outcomes import counted

    seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
    metrics, study = metrics_text(run.metrics), run.study
    if study and study["best"] is None:
        metrics = f"{counted(study['trials'], 'trial')}, none has a score"
    elif study or run.is_best:
        name = f"best of {counted(study['trials'], 'trial')}" if study else "best"
        metrics = f"{name}: {metrics}"
    return run.id, run.status, seconds, ", ".join(run.stages), metrics


def _step_row(step: Mapping[str, Any]) -> tuple[str, ...]:
    metrics = metrics_text(step["metrics"] or {}, step.get("deviations"))
    return _title(step), step["status"], f"{step['seconds']:.1f}", step["reason"], metrics


def _arguments(record: Record) -> list[str]:
    request = record.request
    return [*request.overrides, *(["--multirun"] if request.multirun else []), *flags_of(request.config_dirs)]
