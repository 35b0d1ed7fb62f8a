"""``runs``: list, show and compare recorded runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.binding.call import title_of
from when_ml_pipeline_meets_hydra.cli.arguments import flags_of
from when_ml_pipeline_meets_hydra.cli.output.consoles import console, print_json, print_rows
from when_ml_pipeline_meets_hydra.cli.output.formatting import metrics_text
from when_ml_pipeline_meets_hydra.cli.output.trials import search_facts, trial_table
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.partial_scores import as_text
from when_ml_pipeline_meets_hydra.records.record import Record, find_record, read_records

RunId = Annotated[str, typer.Argument(help="The run's id, a part of it that is unique, or 'last'")]
_MANY = 10  # jobs whose configs are shown one by one
AsJson = Annotated[bool, typer.Option("--json", help="For machines")]


def list_runs(
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many")] = 20, as_json: AsJson = False
) -> None:
    """List the runs, the newest last."""
    newest_first = reversed(list(read_records(home())))
    shown: Callable[[Record], Any] = _content if as_json else _row
    rows = list(islice(_readable(newest_first, shown), last))[::-1]
    if as_json:
        print_json(rows)
    else:
        print_rows(("id", "status", "seconds", "stages", "metrics"), rows)


def _readable(records: Iterable[Record], shown: Callable[[Record], Any]) -> Iterator[Any]:
    for record in records:
        try:
            yield shown(record)
        except BadInput as error:
            print(f"Left out: {error}", file=sys.stderr)


def _content(record: Record) -> dict[str, Any]:
    return {**record.content, "status": record.status}


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


def _row(record: Record) -> tuple[str, ...]:
    from when_ml_pipeline_meets_hydra.execution.outcomes import counted

    head = record.head
    seconds = "" if head["seconds"] is None else f"{head['seconds']:.1f}"
    best, study = _of_best(record), head.get("study")
    stages = groupby((best or record.metrics).items(), key=lambda metric: metric[0].partition(".")[0])
    first = dict(metric for _, metrics in stages for metric in islice(metrics, 3))
    name = f"best of {counted(study['trials'], 'trial')}" if study else "best"
    metrics = f"{name}: {metrics_text(first)}" if best or study else metrics_text(first)
    if study and study["best"] is None:
        metrics = f"{counted(study['trials'], 'trial')}, none has a score"
    return record.id, record.status, seconds, ", ".join(head["stages"]), metrics


def _of_best(record: Record) -> dict[str, float]:
    """The metrics of the best combination of a sweep by its objective; empty if there is none."""
    objective = record.head["objective"]
    stage, _, name = (objective["metric"] or "").partition(".")
    measured = [s for s in record.steps if s["stage"] == stage and name in (s["metrics"] or {})] if name else []
    if len(measured) < 2:
        return {}
    sign = -1 if objective["direction"] == "minimize" else 1
    best = max(measured, key=lambda step: sign * step["metrics"][name])
    own = (s for s in record.steps if s is best or (s["stage"] != stage and set(s["jobs"]) & set(best["jobs"])))
    return {f"{s['stage']}.{metric}": value for s in own for metric, value in (s["metrics"] or {}).items()}


def _step_row(step: Mapping[str, Any]) -> tuple[str, ...]:
    metrics = metrics_text(step["metrics"] or {}, step.get("deviations"))
    return _title(step), step["status"], f"{step['seconds']:.1f}", step["reason"], metrics


def _arguments(record: Record) -> list[str]:
    request = record.request
    return [*request.overrides, *(["--multirun"] if request.multirun else []), *flags_of(request.config_dirs)]
