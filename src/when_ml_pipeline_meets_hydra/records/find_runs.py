"""Find runs by a filter, the newest first, through the index of the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.records.facts import (
    KEY,
    MISSING,
    RUN_NAMES,
    STARTED,
    Facts,
    decoded_name,
    fact_name,
    facts_of,
)
from when_ml_pipeline_meets_hydra.records.index import Kind, RunIndex
from when_ml_pipeline_meets_hydra.records.lookup import run_ids
from when_ml_pipeline_meets_hydra.records.summaries import RunSummary, summary_of
from when_ml_pipeline_meets_hydra.records.where import Name, Where
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

_SUMMARIES, _FACTS = Kind("summaries", summary_of), Kind("facts", facts_of)
# What people call the facts of a run.
_MEANT = {"date": "started", "time": "started", "duration": "seconds", "stage": "stages", "tag": "tags", "run": "id"}


@dataclass(frozen=True, kw_only=True)
class Order:
    """By what runs are sorted: a fact of runs, a metric or a key. Runs without it are the last ones."""

    name: str = STARTED
    descending: bool = True


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """Some of the runs that were found; ``count`` is the number of all."""

    runs: Sequence[RunSummary]
    count: int


def find_runs(
    home: Path,
    filters: Sequence[Where] = (),
    *,
    last: int | None = None,
    left_out: Callable[[BadInput], None] = lambda _: None,
) -> list[RunSummary]:
    """Return the summaries of the runs that all ``filters`` find, the newest first; the ``last`` of them, or all.

    ``left_out`` is called with the error of each damaged record. Raises ``BadInput`` for a name that no run has.
    """
    newest_first = run_ids(home)[::-1]
    with RunIndex(home, left_out) as index:
        found = newest_first
        if filters:
            found = [run for run, _ in islice(_matching(index, filters, newest_first), last)]
        return list(islice(_summaries(index, found, last), last))


def page_of_runs(
    home: Path,
    filters: Sequence[Where],
    order: Order,
    *,
    start: int,
    size: int,
    left_out: Callable[[BadInput], None] = lambda _: None,
) -> RunPage:
    """Return ``size`` of the runs that all ``filters`` find, from number ``start`` on. Raises as ``find_runs``."""
    found = run_ids(home)[::-1]
    with RunIndex(home, left_out) as index:
        if filters or order.name != STARTED:
            matching = _matching(index, filters, found)
            found = [run for run, _ in matching] if order.name == STARTED else _sorted(matching, order)
        if order.name == STARTED and not order.descending:
            found = found[::-1]
        return RunPage(runs=list(_summaries(index, found[start : start + size])), count=len(found))


def _summaries(index: RunIndex, runs: Sequence[str], most: int | None = None) -> Iterator[RunSummary]:
    return (RunSummary.decoded(content) for _, content in index.read(_SUMMARIES, runs, most))


def _sorted(found: Iterable[tuple[str, Facts]], order: Order) -> list[str]:
    """The runs by a value; of a run with several combinations, by the first of theirs in this order."""
    name, first = fact_name(order.name), max if order.descending else min
    known, missing = [], []
    for run, facts in found:
        values = [place for value in facts.values(name) or () if (place := _place(value)) is not None]
        if values:
            known.append((first(values), run))
        else:
            missing.append(run)
    return [run for _, run in sorted(known, key=lambda pair: pair[0], reverse=order.descending)] + missing


def _place(value: Any) -> tuple[bool, Any] | None:
    """The place of a value in an order, numbers before texts; None if it has none."""
    if value is MISSING or value is None or value != value:
        return None
    return (False, value) if isinstance(value, int | float) else (True, str(value))


def _matching(index: RunIndex, filters: Sequence[Where], runs: Sequence[str]) -> Iterator[tuple[str, Facts]]:
    """Yield the runs that all filters find. Raises ``BadInput`` at the end for the names that no run has."""
    unseen = {name.fact: (where, name) for where in filters for name in where.names if name.fact not in RUN_NAMES}
    found: list[tuple[str, Facts]] = []
    is_empty = True
    for run, content in index.read(_FACTS, runs):
        facts, is_empty = Facts(content), False
        unseen = {fact: use for fact, use in unseen.items() if not facts.has(fact)} if unseen else unseen
        if all(where.matches(facts) for where in filters):
            found.append((run, facts))
        if not unseen:  # before, the filter may be wrong
            yield from found
            found.clear()
    if unseen and not is_empty:
        raise BadInput(*(_unknown(where, name, index, runs) for where, name in unseen.values()))
    index.forget_others(runs)


def _unknown(where: Where, name: Name, index: RunIndex, runs: Sequence[str]) -> Problem:
    encoded: set[bytes] = set()
    for _, content in index.read(_FACTS, runs):
        encoded.update(Facts(content).encoded_names())
    known = [decoded_name(found) for found in sorted(encoded)]
    remedy = None
    if name.shown in _MEANT and name.fact.startswith(KEY):
        remedy = f"Did you mean '{_MEANT[name.shown]}'?"
    elif ends := [n for n in known if n.endswith((f".{name.shown}", f"/{name.shown}"))]:
        remedy = "Did you mean " + " or ".join(f"'{n}'" for n in ends[:3]) + "?"
    else:
        close = did_you_mean(name.shown, [*known, *RUN_NAMES]) or ""
        remedy = close if close.startswith("Did") else None
    if remedy is None and name.shown.isidentifier():
        remedy = f'Write a text in quotes: "{name.shown}"'
    return where.problem(name.place, f"no run has '{name.shown}'", remedy)
