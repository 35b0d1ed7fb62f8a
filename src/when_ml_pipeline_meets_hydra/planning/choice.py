"""Choose which combinations of a sweep go on: of those that claim the same place, the best by the objective. No I/O."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.binding.call import Call
    from when_ml_pipeline_meets_hydra.binding.settings import Objective
    from when_ml_pipeline_meets_hydra.contracts import Claim

Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Combinations of which only the best goes on.

    ``candidates`` are the keys of the steps that yield ``metric``, one for each combination in the order of their jobs;
    ``jobs`` are the first jobs of the combinations. The first of equal ones is the best.
    """

    metric: str
    is_maximized: bool
    candidates: tuple[str, ...]
    jobs: tuple[int, ...]

    def best(self, metrics: Mapping[str, Metrics]) -> int | None:
        """Return the place of the best candidate; None if none has the metric.

        ``metrics`` maps the keys of the candidates that succeeded to their metrics.
        """
        values = [self.value(n, metrics) for n in range(len(self.candidates))]
        sign = -1 if self.is_maximized else 1
        known = [(sign * value, n) for n, value in enumerate(values) if value is not None]
        return min(known)[1] if known else None

    def value(self, place: int, metrics: Mapping[str, Metrics]) -> float | None:
        """Return the metric of a candidate; None if it failed, or its metric is missing or not a number."""
        value = metrics.get(self.candidates[place], {}).get(self.metric)
        return None if value is None or math.isnan(value) else value


Candidacies = tuple[tuple[Choice, int], ...]  # the choices that a step depends on, and its place in each


@dataclass(frozen=True, kw_only=True)
class Combination:
    """The numbers of its jobs, and the keys of its steps by stage."""

    jobs: tuple[int, ...]
    keys: Mapping[str, str]


def candidacies(
    combinations: Sequence[Combination],
    steps: Mapping[str, tuple[Call, Iterable[str], Iterable[int]]],
    objective: Objective,
) -> dict[str, Candidacies]:
    """Return the choices that steps depend on: those behind the one that yields the metric of the objective.

    ``steps`` maps keys, in dependency order, to the call, the keys of the steps before it and its jobs. A step that a
    combination without a choice has as well depends on none.
    """
    if objective.metric is None or objective.then == "all":
        return {}
    stage, _, metric = objective.metric.rpartition(".")
    of_job = {number: place for place, combination in enumerate(combinations) for number in combination.jobs}
    places_of = {key: dict.fromkeys(of_job[number] for number in jobs) for key, (_, _, jobs) in steps.items()}
    behind = _behind(combinations, steps, stage, places_of)
    of_combination, claiming = _choices(
        combinations, steps, behind, stage, metric, is_maximized=objective.direction != "minimize"
    )
    if not of_combination:
        return {}
    found: dict[str, Candidacies] = {}
    for key, places in places_of.items():
        if all(place in of_combination and (key, place) in behind for place in places):
            entries = [entry for place in places for entry in of_combination[place]]
            found[key] = tuple((c, n) for c, n, claimed in entries if key not in claiming or claimed == key)
    return {key: entries for key, entries in found.items() if entries}


def _behind(
    combinations: Sequence[Combination],
    steps: Mapping[str, tuple[Call, Iterable[str], Iterable[int]]],
    stage: str,
    places_of: Mapping[str, Iterable[int]],
) -> set[tuple[str, int]]:
    """Return the steps, each with the place of a combination, that come after the combination's step of a stage."""
    behind: set[tuple[str, int]] = set()
    for key, (_, before, _) in steps.items():
        for place in places_of[key]:
            first = combinations[place].keys.get(stage)
            if any(b == first or (b, place) in behind for b in before):
                behind.add((key, place))
    return behind


def _claims(
    place: int,
    combination: Combination,
    steps: Mapping[str, tuple[Call, Iterable[str], Iterable[int]]],
    behind: Collection[tuple[str, int]],
) -> Iterator[tuple[Claim, str]]:
    """Yield what the steps of a combination claim, with their keys.

    What is not exclusive counts only where nothing is, and if the metric is known before it is claimed.
    """
    claimed = [(claim, key) for key in combination.keys.values() if (claim := steps[key][0].claim)]
    is_exclusive = any(claim.exclusive for claim, _ in claimed)
    for claim, key in claimed:
        if claim.exclusive or (not is_exclusive and (key, place) in behind):
            yield claim, key


def _choices(
    combinations: Sequence[Combination],
    steps: Mapping[str, tuple[Call, Iterable[str], Iterable[int]]],
    behind: Collection[tuple[str, int]],
    stage: str,
    metric: str,
    *,
    is_maximized: bool,
) -> tuple[dict[int, list[tuple[Choice, int, str]]], set[str]]:
    """Return the choices of each combination, with its place in them and the step that claims, and all such steps."""
    claims: dict[tuple[str, str], dict[int, str]] = {}
    for place, combination in enumerate(combinations):
        for claim, key in _claims(place, combination, steps, behind):
            claims.setdefault((claim.place, claim.among), {})[place] = key
    found: dict[int, list[tuple[Choice, int, str]]] = {}
    for claimed in claims.values():
        members = [combinations[place] for place in claimed]
        if len({*claimed.values()}) > 1 and all(stage in member.keys for member in members):
            choice = Choice(
                metric=metric,
                is_maximized=is_maximized,
                candidates=tuple(member.keys[stage] for member in members),
                jobs=tuple(member.jobs[0] for member in members),
            )
            for n, (place, key) in enumerate(claimed.items()):
                found.setdefault(place, []).append((choice, n, key))
    return found, {key for claimed in claims.values() for key in claimed.values()}
