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
    counts = "".join(
        f", {study[status]} {status}" for status in ("failed", "pruned", "infeasible") if study.get(status)
    )
    return {
        "study": study["name"],
        "trials": f"{study['trials']}{counts}" if counts else study["trials"],
        "best": _best(record),
        **({"front": _front(record)} if study.get("front") else {}),
        **more,
        "report": study.get("report"),
    }


def _best(record: Record) -> str | None:
    from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric

    best = next((t for t in record.trials if t.status == "done"), None)
    if best is None or best.score is None:
        return None
    of = f"trial {best.name}" if best.number >= 0 else "an earlier run"
    scores = best.scores or {record.head["objective"]["metric"]: best.score}
    return ", ".join((of, *(f"{name}={format_metric(value)}" for name, value in scores.items())))


def _front(record: Record) -> str:
    """The trials on the Pareto front: ``trial 3, 7 and 12``."""
    names = [trial.name for trial in record.trials if trial.is_on_front]
    return f"trials {', '.join(names)}" if len(names) >= _SEVERAL else f"trial {names[0]}"


def trial_table(record: Record) -> Cells:
    """Return the trials as a table, the best one first; columns that are empty for all are left out."""
    from when_ml_pipeline_meets_hydra.records.short_names import short_names
    from when_ml_pipeline_meets_hydra.records.trials import drawn_keys

    trials, objective = record.trials, record.head["objective"]
    keys, metrics = drawn_keys(trials), (objective["metric"], *objective.get("further", ()))
    names = short_names((*keys, *metrics), taken=("trial", "seconds", "status", "front", "run", "job", "error"))
    is_front = ("front",) if len(metrics) >= _SEVERAL else ()
    has_runs, has_errors = len({t.run for t in trials}) >= _SEVERAL, any(t.error for t in trials)
    ends = ("seconds", "status", *is_front, *(("run",) if has_runs else ()), "job", *(("error",) if has_errors else ()))
    rows = [tuple(_cells(trial, keys, metrics, has_runs=has_runs, has_errors=has_errors)) for trial in trials]
    return ("trial", *(names[name] for name in (*metrics, *keys)), *ends), rows


def _cells(
    trial: RecordedTrial, keys: tuple[str, ...], metrics: tuple[str, ...], *, has_runs: bool, has_errors: bool
) -> Iterator[str]:
    from when_ml_pipeline_meets_hydra.execution.outcomes import format_metric
    from when_ml_pipeline_meets_hydra.records.compare import format_value, rounded

    yield trial.name
    scores = trial.scores or ({} if trial.score is None else {metrics[0]: trial.score})
    yield from (format_metric(scores[name]) if name in scores else "" for name in metrics)
    yield from (format_value(rounded(trial.values[key])) if key in trial.values else "" for key in keys)
    yield f"{trial.seconds:.1f}"
    yield trial.status
    if len(metrics) >= _SEVERAL:
        yield "front" if trial.is_on_front else ""
    if has_runs:
        yield trial.run or ""
    yield "" if trial.job is None else str(trial.job)
    if has_errors:
        yield trial.error or ""
