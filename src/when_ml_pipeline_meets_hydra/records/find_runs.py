"""Find runs by a filter, the newest first, through the index of the records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.records.facts import KEY, RUN_NAMES, Facts, facts_of
from when_ml_pipeline_meets_hydra.records.index import Kind, RunIndex
from when_ml_pipeline_meets_hydra.records.lookup import run_ids
from when_ml_pipeline_meets_hydra.records.summaries import RunSummary, summary_of
from when_ml_pipeline_meets_hydra.records.where import Name, Where

_SUMMARIES, _FACTS = Kind("summaries", summary_of), Kind("facts", facts_of)
# What people call the facts of a run.
_MEANT = {"date": "started", "time": "started", "duration": "seconds", "stage": "stages", "tag": "tags", "run": "id"}


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
        found = list(islice(_matching(index, filters, newest_first), last)) if filters else newest_first
        summaries = islice(index.read(_SUMMARIES, found, last), last)
        return [RunSummary.decoded(content) for _, content in summaries]


def _matching(index: RunIndex, filters: Sequence[Where], runs: Sequence[str]) -> Iterator[str]:
    """Yield the runs that all filters find. Raises ``BadInput`` at the end for the names that no run has."""
    unseen = {name.fact: (where, name) for where in filters for name in where.names if name.fact not in RUN_NAMES}
    found: list[str] = []
    is_empty = True
    for run, content in index.read(_FACTS, runs):
        facts, is_empty = Facts(content), False
        unseen = {fact: use for fact, use in unseen.items() if not facts.has(fact)} if unseen else unseen
        if all(where.matches(facts) for where in filters):
            found.append(run)
        if not unseen:  # before, the filter may be wrong
            yield from found
            found.clear()
    if unseen and not is_empty:
        raise BadInput(*(_unknown(where, name, index, runs) for where, name in unseen.values()))
    index.forget_others(runs)


def _unknown(where: Where, name: Name, index: RunIndex, runs: Sequence[str]) -> Problem:
    known = {known: None for _, content in index.read(_FACTS, runs) for known in Facts(content).names()}
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
