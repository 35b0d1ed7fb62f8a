"""The score of a search: a validation score, its stage and its direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Bound, Call
from when_ml_pipeline_meets_hydra.binding.objective import complete, directions_of, note_on_choice
from when_ml_pipeline_meets_hydra.binding.settings import Direction, Objective
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.execution.outcomes import counted
from when_ml_pipeline_meets_hydra.searching.constraints import Constraint, constraints_of
from when_ml_pipeline_meets_hydra.searching.samplers.interface import Scores
from when_ml_pipeline_meets_hydra.searching.session import score_of, scoring_call
from when_ml_pipeline_meets_hydra.searching.settings import KEY, SearchSettings
from when_ml_pipeline_meets_hydra.searching.study import Trial

METRIC = "objective.metric"


@dataclass
class Score:
    """The metric of a ``stage`` that a search improves.

    Without a requested one it is the first of ``candidates`` that the first results have: what a model is measured by
    depends on its data. ``further`` metrics of the same stage are improved as well. Trials keep to the ``constraints``,
    for which they run up to the ``last_stage``. ``note`` is a sentence for the user.
    """

    stage: str
    requested: str | None
    candidates: Mapping[str, Direction]
    note: str | None = None
    further: Mapping[str, Direction] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    last_stage: str = ""

    @property
    def metric(self) -> str:
        """The name of the metric: ``r2``."""
        return next(iter(self.candidates))

    @property
    def direction(self) -> Direction:
        """Which way it is better."""
        return self.candidates[self.metric]

    @property
    def whole(self) -> str:
        """The metric with its stage: ``validation.r2``."""
        return f"{self.stage}.{self.metric}"

    @property
    def objective(self) -> Objective:
        """It, as the objective of a run."""
        further = {f"{self.stage}.{name}": way for name, way in self.further.items()}
        texts = tuple(c.text for c in self.constraints)
        return Objective(metric=self.whole, direction=self.direction, further=further, constraints=texts)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells studies with different goals apart."""
        more: dict[str, Any] = {"further": self.further} if self.further else {}
        more |= {"constraints": [c.text for c in self.constraints]} if self.constraints else {}
        return {"objective": {"metric": self.requested, "direction": self.direction, **more}}

    @property
    def limited(self) -> dict[str, list[str]]:
        """The names of the numbers that constraints limit, by stage."""
        stages = dict.fromkeys(c.stage for c in self.constraints)
        return {stage: [c.name for c in self.constraints if c.stage == stage] for stage in stages}

    @property
    def goals(self) -> dict[str, Direction]:
        """All metrics with their directions, the first one first."""
        return {self.metric: self.direction, **self.further}

    def of(self, trial: Trial) -> float | None:
        """Return the first metric of a trial; None if it failed or lacks it."""
        return score_of(trial.metrics, self.metric)

    def all_of(self, trial: Trial) -> dict[str, float]:
        """Return all metrics of a trial that it has, by their whole names."""
        found = {name: score_of(trial.metrics, name) for name in self.goals}
        return {f"{self.stage}.{name}": value for name, value in found.items() if value is not None}

    def missing(self, trial: Trial) -> list[str]:
        """Return the whole names of the metrics and limited numbers that a trial lacks."""
        lacks = [f"{self.stage}.{name}" for name in self.goals if score_of(trial.metrics, name) is None]
        return [*lacks, *(c.whole for c in self.constraints if c.violation(trial.measured) is None)]

    def has_failed(self, trial: Trial) -> bool:
        """Return whether an ended trial lacks a number, without having been pruned."""
        return not trial.is_pruned and bool(self.missing(trial))

    def scores(self, trial: Trial) -> Scores | None:
        """Return what a sampler is told, larger being better; None of a trial that failed or lacks a number."""
        if self.missing(trial):
            return None
        values = self.all_of(trial).values()
        signed = (v if way == "maximize" else -v for v, way in zip(values, self.goals.values(), strict=True))
        return Scores(
            values=tuple(signed), violations=tuple(c.violation(trial.measured) or 0.0 for c in self.constraints)
        )

    def broken(self, trial: Trial) -> str | None:
        """Return the constraints that a trial breaks; None if it keeps to all of them."""
        return "; ".join(filter(None, (c.broken(trial.measured) for c in self.constraints))) or None

    def settle(self, metrics: Mapping[str, float] | None) -> bool:
        """Choose the metric by the first results; returns whether it is another one than before."""
        before = self.metric
        if len(self.candidates) > 1 and (found := [n for n in self.candidates if score_of(metrics, n) is not None]):
            self.candidates = {found[0]: self.candidates[found[0]]}
        return self.metric != before

    def lacking(self, trials: Sequence[Trial]) -> tuple[str, list[str]] | None:
        """Return a requested number that none of some trials has although all have metrics, and those that they have.

        None if there is no such number.
        """
        wanted = self.missing(trials[0]) if trials else []
        absent = [name for name in wanted if all(t.metrics and name in self.missing(t) for t in trials)]
        if not absent or (not self.requested and not self.constraints):
            return None
        return absent[0], list(dict.fromkeys(f"{self.stage}.{name}" for t in trials for name in t.metrics or {}))


def score_for(bound: Bound, settings: SearchSettings, *, is_assumed: bool = False) -> Score:
    """Return the score that the objective and ``hydra.sweeper.direction`` mean. Raises ``BadInput``.

    ``is_assumed``: the objective has a metric that the command does not name.
    """
    objective, directions = bound.settings.objective, settings.directions
    wanted = 1 + len(objective.further)
    if len(directions) not in (0, wanted):
        message = f"expected {counted(wanted, 'direction')}, as objective.metric has {counted(wanted, 'metric')}"
        remedy = f"For several, write {METRIC}=[…,…]"
        raise BadInput(Problem(key=f"{KEY}.direction", value=",".join(directions), message=message, remedy=remedy))
    own = directions[0] if directions else None
    if objective.then != "best":
        message = "a search goes on with the best trial only"
        raise BadInput(Problem(key="objective.then", value="all", message=message, remedy="Leave it out"))
    if bound.settings.force:
        message = "a search computes each step once, and tells the sampler what is stored"
        remedy = "Leave it out; hydra.sweeper.study_name=… begins another study"
        raise BadInput(Problem(key="force", message=message, remedy=remedy))
    if objective.metric is None or is_assumed:
        return _limited(_by_default(bound, own), bound)
    assert objective.direction is not None
    goals = {objective.metric: objective.direction, **objective.further}
    for other, (name, way) in zip(directions, goals.items(), strict=False):
        if other != way:
            message = f"objective.metric={name} is to be {way}d"
            ways = ",".join(map(str, goals.values()))
            remedy = f"Leave it out, or write {KEY}.direction={ways if len(goals) == 1 else f'[{ways}]'}"
            raise BadInput(Problem(key=f"{KEY}.direction", value=other, message=message, remedy=remedy))
    stage, _, metric = objective.metric.rpartition(".")
    if not _yields(bound, stage):
        message = f"no step of this command yields it: the stage {stage} is not part of it"
        raise BadInput(
            Problem(key=METRIC, value=objective.metric, message=message, remedy=f"Add that stage: c={stage}")
        )
    if elsewhere := [name for name in objective.further if name.rpartition(".")[0] != stage]:
        message = f"all metrics of a search are of one stage, and {objective.metric} is of {stage}"
        raise BadInput(
            Problem(key=METRIC, value=elsewhere[0], message=message, remedy="Limit it: objective.constraints")
        )
    further = {name.rpartition(".")[2]: way for name, way in objective.further.items() if way}
    note = note_on_choice(bound)
    found = Score(
        stage=stage,
        requested=objective.metric,
        candidates={metric: objective.direction},
        note=note,
        further=further,
    )
    return _limited(found, bound)


def _limited(score: Score, bound: Bound) -> Score:
    constraints, last = constraints_of(bound, score.stage)
    return replace(score, constraints=constraints, last_stage=last)


def refuse_partial_scores(score: Score, settings: SearchSettings) -> None:
    """Raise ``BadInput`` for what would compare trials by less than their scores and limited numbers."""
    if (settings.pruner or {}).get("_target_") and score.further:
        message = f"a pruner compares one metric, and objective.metric names {len(score.goals)}"
        raise BadInput(Problem(key="hydra/sweeper/pruner", message=message, remedy="Leave it out"))
    if settings.warm_start and any(c.stage != score.stage for c in score.constraints):
        message = f"of earlier runs only the numbers of {score.stage} are known, and constraints name others"
        raise BadInput(Problem(key="hydra.sweeper.warm_start", message=message, remedy="Leave it out"))


def _yields(bound: Bound, stage: str) -> bool:
    return any(scoring_call(call, stage) for _, call in bound.calls)


def _by_default(bound: Bound, own: Direction | None) -> Score:
    declared = directions_of(bound.all_calls)
    for name, direction in declared.items():
        whole, _ = complete(replace(bound.settings.objective, metric=name, direction=direction), bound.all_calls)
        stage = (whole.metric or "").rpartition(".")[0]
        if _yields(bound, stage):
            candidates = _candidates(stage, bound.all_calls, own)
            if candidates:
                with_metric = replace(
                    bound.settings, objective=replace(whole, metric=f"{stage}.{next(iter(candidates))}")
                )
                note = note_on_choice(replace(bound, settings=with_metric))
                return Score(stage=stage, requested=None, candidates=candidates, note=note)
    message = "a search needs a metric, and no step of this command declares one"
    raise BadInput(Problem(key=METRIC, message=message, remedy=f"Add {METRIC}=… and objective.direction=…"))


def _candidates(stage: str, calls: tuple[Call, ...], own: Direction | None) -> dict[str, Direction]:
    found = {k.rpartition(".")[2]: d for k, d in directions_of(calls).items() if k.rpartition(".")[0] == stage}
    return {name: direction for name, direction in found.items() if own in (None, direction)}
