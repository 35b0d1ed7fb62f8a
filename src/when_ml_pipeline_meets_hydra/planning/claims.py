"""Find the places that several combinations of a sweep claim although no best one can be chosen among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.binding.settings import Objective
    from when_ml_pipeline_meets_hydra.contracts import Claim

METRIC = "objective.metric"
ALL = "take all of them in turn: objective.then=all"


def claim_problems(plan: Plan, objective: Objective) -> Iterator[Problem]:
    """Yield a problem for each place that different steps claim: in turn, each would replace the one before."""
    if objective.then == "all":
        return
    places: dict[str, list[tuple[Claim, Step]]] = {}
    for step in plan.steps:
        if (claim := step.call.claim) and claim.exclusive:
            places.setdefault(claim.place, []).append((claim, step))
    for claimed in places.values():
        if len(claimed) > 1:
            yield from _problems([claim for claim, _ in claimed], [step for _, step in claimed], plan, objective)


def _problems(claims: Sequence[Claim], steps: Sequence[Step], plan: Plan, objective: Objective) -> Iterator[Problem]:
    text = claims[0].text
    jobs = tuple(sorted({number for step in steps for number in step.jobs if plan.requested[number] == step.key}))
    if objective.metric is None:
        message = f"{len(steps)} combinations would take {text}, each in place of the one before"
        metrics = "|".join(_metrics(plan.steps)) or "…"
        remedy = f"Name the metric by which the best is chosen ({METRIC}={metrics}), or {ALL}"
        yield Problem(key=METRIC, message=message, remedy=remedy, jobs=jobs)
    elif len({claim.among for claim in claims}) > 1:
        message = f"the best of each data set would take {text}, each in place of the one before"
        own = claims[0].remedy or "Give each its own"
        remedy = f"Metrics of different data sets cannot be compared. {own}; or {ALL}"
        yield Problem(key="objective", message=message, remedy=remedy, jobs=jobs)
    elif any(step.action is not Action.IF_BEST for step in steps):
        stage = objective.metric.rpartition(".")[0]
        message = f"not every combination that would take {text} has a step that yields it"
        add = f"Add that stage: c={stage},{steps[0].call.stage}" if stage else None
        yield Problem(key=METRIC, value=objective.metric, message=message, remedy=add, jobs=jobs)


def _metrics(steps: Iterable[Step]) -> dict[str, None]:
    kinds = (step.call.returns for step in steps)
    return dict.fromkeys(metric for kind in kinds if kind for metric in kind.directions)
