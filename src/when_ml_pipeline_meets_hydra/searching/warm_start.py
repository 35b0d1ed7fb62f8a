"""Finds stored results of earlier runs that are trials of a search: of the same data, folds, code and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.records.compare import look_up
from when_ml_pipeline_meets_hydra.records.lookup import read_records
from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.searching.session import Session, limited_numbers, scoring_call
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value
from when_ml_pipeline_meets_hydra.searching.study import Trial
from when_ml_pipeline_meets_hydra.storage.results import open_result
from when_ml_pipeline_meets_hydra.storage.store import Store, StoreError

MOST_RUNS = 200  # the latest that are read


def known_trials(home: Path, session: Session, space: Space) -> list[Trial]:
    """Return what the combinations of earlier runs have measured, if their points are in the space.

    A point counts if the step that would yield its score is stored: then data, folds, code and options are the same.
    """
    points: dict[tuple[str, ...], dict[str, Value]] = {}
    for record in list(read_records(home))[-MOST_RUNS:]:
        with suppress(BadInput):  # of a damaged record nothing is known
            points |= _points(record, space, session.stage)
    lines = list(points)
    _, problems = session.problems(lines)
    valid = [point for point, wrong in zip(lines, problems, strict=True) if not wrong]
    if not valid:
        return []
    bound = session.bind(valid)
    found = zip(valid, session.keys(bound), scoring_kinds(bound, session.stage), strict=True)
    store = Store(home / "store")
    stored = ((point, key, open_stored(store, key, kind)) for point, key, kind in found)
    measured = [(point, key, result) for point, key, result in stored if result is not None]
    names = session.limited.get(session.stage, ())
    return [
        Trial(
            number=n - len(measured),
            values=points[point],
            has_ended=True,
            metrics=dict(result.metrics),
            measured=limited_numbers(session.stage, names, result),
            key=key,
        )
        for n, (point, key, result) in enumerate(measured)
    ]


def scoring_kinds(bound: Bound, stage: str) -> list[Any]:
    """Return the types of the artifacts that have the scores of jobs."""
    return [found.returns for _, call in bound.calls if (found := scoring_call(call, stage))]


def open_stored(store: Store, key: str, kind: Any) -> Any:
    """Return the stored result of a step, which has metrics; None if there is none, or it is damaged."""
    if not store.has(key) or store.damage(key):
        return None
    with suppress(StoreError, OSError):
        return open_result(store.root, key, kind)
    return None


def _points(record: Record, space: Space, stage: str) -> Iterator[tuple[tuple[str, ...], dict[str, Value]]]:
    """Yield the points of a record's combinations: overrides, and values."""
    if not any(step["stage"] == stage for step in record.steps):
        return
    jobs = {job["number"]: job for job in record.jobs()}
    first = {job["combination"]: number for number, job in reversed(jobs.items())}
    for number, config in record.configs(set(first.values())):
        values = values_of(space, jobs[number]["choices"], config)
        if values is not None:
            yield space.lines(values), values


def values_of(space: Space, choices: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Value] | None:
    """Return the values of a combination; None if one of them is not in the space."""
    options: dict[str, Value] = {}
    for group in space.groups:
        if (option := choices.get(group.name)) not in group.values:
            return None
        options[group.key] = str(option)
    values = dict(options)
    for dimension in space.drawn_with(options):
        if (value := _within(dimension, look_up(config, dimension.name))) is None:
            return None
        values[dimension.key] = value
    return values


def _within(dimension: Dimension, value: Any) -> Value | None:
    if dimension.values:
        return next((text for text in dimension.values if yaml.safe_load(text) == value), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
        return None
    if dimension.count is None:
        return float(value)
    place = round((value - dimension.low) / (dimension.step or 1))
    return dimension.number(place) if dimension.number(place) == value else None
