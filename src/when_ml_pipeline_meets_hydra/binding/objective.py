"""Complete the objective of a run: the stage that yields the metric, and the direction that the metric says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Bound, Call
from when_ml_pipeline_meets_hydra.binding.settings import Direction, Objective
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean

METRIC, DIRECTION = "objective.metric", "objective.direction"


def directions_of(calls: Iterable[Call]) -> dict[str, Direction]:
    """Return the direction of each metric that the calls declare: ``{"modeling.rmse": "minimize"}``."""
    ordered = sorted(calls, key=lambda call: len(call.after))
    return {f"{c.stage}.{name}": way for c in ordered if c.returns for name, way in _directions(c).items()}


def _directions(call: Call) -> Mapping[str, Direction]:
    """The directions of the metrics of a call's artifact, and of those that are among its arguments."""
    own = (getattr(value, "directions", None) for value in call.arguments.values())
    declared = call.returns.directions if call.returns else {}
    return {**declared, **{name: way for found in own if isinstance(found, Mapping) for name, way in found.items()}}


def complete(objective: Objective, calls: Sequence[Call]) -> tuple[Objective, list[Problem]]:
    """Return the objective with the whole names of its metrics and with their directions, and its problems.

    ``calls`` are those of all jobs and what they need.
    """
    if objective.metric is None:
        return objective, []
    declared, problems = directions_of(calls), list[Problem]()
    metric, direction = _completed(objective.metric, objective.direction, declared, calls, problems)
    further = dict(_completed(m, way, declared, calls, problems) for m, way in objective.further.items())
    if metric in further or len(further) < len(objective.further):
        message = "these are one metric under several names"
        problems.append(Problem(key=METRIC, value=metric, message=message, remedy="Name each metric once"))
    from dataclasses import replace  # here, so that stored runs do without

    return replace(objective, metric=metric, direction=direction, further=further), problems


def _completed(
    name: str,
    direction: Direction | None,
    declared: Mapping[str, Direction],
    calls: Sequence[Call],
    problems: list[Problem],
) -> tuple[str, Direction | None]:
    """Return the whole name of a metric, and its direction; problems are appended."""
    before = len(problems)
    metric = _before(_whole_name(name, declared, calls, problems), calls)
    own = declared.get(metric)
    if own and direction and direction != own:
        message = f"{name} is better the {'larger' if own == 'maximize' else 'smaller'} it is"
        remedy = f"Leave it out, or write {DIRECTION}={own}"
        problems.append(Problem(key=DIRECTION, value=direction, message=message, remedy=remedy))
    measures = any(_measures(call) for call in calls)
    if measures and not own and not direction and len(problems) == before:
        known = {known for whole in declared for known in (whole, whole.partition(".")[2])}
        own_metric = f"For a metric of your own, add {DIRECTION}=maximize or minimize"
        near = did_you_mean(name, known) or ""
        remedy = f"{near}{'' if near.endswith('?') else '.'} {own_metric}" if near else own_metric
        message = "no step of this run says which way it is better"
        problems.append(Problem(key=METRIC, value=name, message=message, remedy=remedy))
    return metric, direction or own


def notes_on(bound: Bound) -> Iterator[str]:
    """Yield the note on a sweep whose best combination is chosen by the rows that are held out for the test."""
    if len({job.combination for job, _ in bound.calls}) > 1 and (note := note_on_choice(bound)):
        yield note


def note_on_choice(bound: Bound) -> str | None:
    """Return the note on an objective that chooses by the rows that are held out for the test; None for others."""
    metric = bound.settings.objective.metric
    stage = (metric or "").partition(".")[0]
    is_test = any(call.stage == stage and call.returns and call.returns.scored_on == "test" for call in bound.all_calls)
    if not metric or not is_test:
        return None
    return (
        f"Note: {METRIC}={metric} chooses by the test rows: for new rows, the best one's test score is too good. "
        "Without modeling/validation=none, training rows decide"
    )


def _whole_name(metric: str, declared: Mapping[str, str], calls: Sequence[Call], problems: list[Problem]) -> str:
    """Return the metric with its stage: the first that declares it, otherwise the only one that measures anything."""
    if metric.partition(".")[0] in {call.stage for call in calls}:
        return metric
    if found := next((name for name in declared if name.partition(".")[2] == metric), None):
        return found
    stages = list(dict.fromkeys(call.stage for call in calls if _measures(call)))
    if len(stages) > 1:
        whole = " or ".join(f"{METRIC}={stage}.{metric}" for stage in stages)
        remedy = did_you_mean(metric, {name.partition(".")[2] for name in declared})
        message = f"no step declares it, and several measure something: write {whole}"
        problems.append(Problem(key=METRIC, value=metric, message=message, remedy=remedy))
    return f"{stages[0]}.{metric}" if len(stages) == 1 else metric


def _before(metric: str, calls: Iterable[Call]) -> str:
    """Return a metric as it is known before its step runs, by a stage that precedes it: ``validation.r2``."""
    stage, _, name = metric.rpartition(".")
    preceding = (other for call in calls if call.stage == stage for other in call.preceding)
    return next((f"{p.stage}.{name}" for p in preceding if name in _directions(p)), metric)


def _measures(call: Call) -> bool:
    kind: Any = call.returns
    return kind is not None and "metrics" in getattr(kind, "__dataclass_fields__", ())
