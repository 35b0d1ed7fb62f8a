"""A search as text: the facts of its study, and its trials as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record
    from when_ml_pipeline_meets_hydra.records.trials import RecordedTrial

Cells = tuple[tuple[str, ...], list[tuple[str, ...]]]  # headings and rows
_SEVERAL = 2


def search_facts(record: Record) -> dict[str, Any]:
    """Return what a record says of its search: study, trials, the best one, the page; empty of any other run."""
    if (study := record.head.get("study")) is None:
        return {}
    others = [run for run in study["runs"] if run != record.id]
    more = {"other_runs": " ".join(others)} if others else {}
    counts = "".join(f", {study[status]} {status}" for status in ("failed", "pruned") if study.get(status))
    return {
        "study": study["name"],
        "trials": f"{study['trials']}{counts}" if counts else study["trials"],
        "best": _best(record),
        **more,
        "report": study.get("report"),
    }


def _best(record: Record) -> str | None:
    from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric

    best = next((t for t in record.trials if t.score is not None), None)
    if best is None or best.score is None:
        return None
    metric, of = record.head["objective"]["metric"], f"trial {best.name}" if best.number >= 0 else "an earlier run"
    return f"{of}, {metric}={format_metric(best.score)}"


def trial_table(record: Record) -> Cells:
    """Return the trials as a table, the best one first; columns that are empty for all are left out."""
    from when_ml_pipeline_meets_hydra.records.compare import short_names
    from when_ml_pipeline_meets_hydra.records.trials import drawn_keys

    trials, metric = record.trials, record.head["objective"]["metric"]
    keys = drawn_keys(trials)
    names = short_names((*keys, metric), taken=("trial", "seconds", "status", "run", "job", "error"))
    has_runs, has_errors = len({t.run for t in trials}) >= _SEVERAL, any(t.error for t in trials)
    ends = ("seconds", "status", *(("run",) if has_runs else ()), "job", *(("error",) if has_errors else ()))
    rows = [tuple(_cells(trial, keys, has_runs=has_runs, has_errors=has_errors)) for trial in trials]
    return ("trial", names[metric], *(names[k] for k in keys), *ends), rows


def _cells(trial: RecordedTrial, keys: tuple[str, ...], *, has_runs: bool, has_errors: bool) -> Iterator[str]:
    from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
    from when_ml_pipeline_meets_hydra.records.compare import format_value, rounded

    yield trial.name
    yield "" if trial.score is None else format_metric(trial.score)
    yield from (format_value(rounded(trial.values[key])) if key in trial.values else "" for key in keys)
    yield f"{trial.seconds:.1f}"
    yield trial.status
    if has_runs:
        yield trial.run or ""
    yield "" if trial.job is None else str(trial.job)
    if has_errors:
        yield trial.error or ""
