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
        if claim := step.call.claim:
            places.setdefault(claim.place, []).append((claim, step))
    for claimed in places.values():
        if len(claimed) > 1:
            text, kinds = claimed[0][0].text, {claim.among for claim, _ in claimed}
            yield from _problems(text, [step for _, step in claimed], len(kinds), plan, objective)


def _problems(text: str, steps: Sequence[Step], kinds: int, plan: Plan, objective: Objective) -> Iterator[Problem]:
    jobs = tuple(sorted({number for step in steps for number in step.jobs if plan.requested[number] == step.key}))
    if objective.metric is None:
        message = f"{len(steps)} combinations would take {text}, each in place of the one before"
        metrics = "|".join(_metrics(plan.steps)) or "…"
        remedy = f"Name the metric by which the best is chosen ({METRIC}={metrics}), or {ALL}"
        yield Problem(key=METRIC, message=message, remedy=remedy, jobs=jobs)
    elif kinds > 1:
        message = f"the best of each data set would take {text}, each in place of the one before"
        remedy = f"Metrics of different data sets cannot be compared: give each its own name, or {ALL}"
        yield Problem(key="objective", message=message, remedy=remedy, jobs=jobs)
    elif any(step.action is not Action.IF_BEST for step in steps):
        stage = objective.metric.rpartition(".")[0]
        message = f"not every combination that would take {text} has a step that yields it"
        add = f"Add that stage: c={stage},{steps[0].call.stage}" if stage else None
        yield Problem(key=METRIC, value=objective.metric, message=message, remedy=add, jobs=jobs)


def _metrics(steps: Iterable[Step]) -> dict[str, None]:
    kinds = (step.call.returns for step in steps)
    return dict.fromkeys(metric for kind in kinds if kind for metric in kind.directions)
