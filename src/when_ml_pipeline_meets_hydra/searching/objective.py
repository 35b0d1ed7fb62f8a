"""The score of a search: a validation score, its stage and its direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from when_ml_pipeline_meets_hydra.binding.call import Bound, Call
from when_ml_pipeline_meets_hydra.binding.objective import complete, directions_of, note_on_choice
from when_ml_pipeline_meets_hydra.binding.settings import Direction, Objective
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.searching.session import score_of, scoring_call
from when_ml_pipeline_meets_hydra.searching.settings import KEY, SearchSettings

METRIC = "objective.metric"


@dataclass
class Score:
    """The metric of a ``stage`` that a search improves.

    Without a requested one it is the first of ``candidates`` that the first results have: what a model is measured by
    depends on its data. ``note`` is a sentence for the user.
    """

    stage: str
    requested: str | None
    candidates: Mapping[str, Direction]
    note: str | None = None

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
        return Objective(metric=self.whole, direction=self.direction)

    def settle(self, metrics: Mapping[str, float] | None) -> bool:
        """Choose the metric by the first results; returns whether it is another one than before."""
        before = self.metric
        if len(self.candidates) > 1 and (found := [n for n in self.candidates if score_of(metrics, n) is not None]):
            self.candidates = {found[0]: self.candidates[found[0]]}
        return self.metric != before

    def others(self, trials: Iterable[Mapping[str, float] | None]) -> list[str]:
        """Return the metrics of trials if all of them have some, and none has the requested one."""
        metrics = list(trials)
        if not self.requested or not all(metrics) or any(self.metric in (m or {}) for m in metrics):
            return []
        return list(dict.fromkeys(f"{self.stage}.{name}" for m in metrics for name in m or {}))

    def larger_is_better(self, metrics: Mapping[str, float] | None) -> float | None:
        """Return the score, negated if a smaller one is better; None of a failed trial."""
        score = score_of(metrics, self.metric)
        return score if score is None or self.direction == "maximize" else -score


def score_for(bound: Bound, settings: SearchSettings, *, is_assumed: bool = False) -> Score:
    """Return the score that the objective and ``hydra.sweeper.direction`` mean. Raises ``BadInput``.

    ``is_assumed``: the objective has a metric that the command does not name.
    """
    objective, directions = bound.settings.objective, settings.directions
    if len(directions) > 1:
        message = "expected one direction, that of objective.metric"
        raise BadInput(Problem(key=f"{KEY}.direction", value=",".join(directions), message=message))
    own = directions[0] if directions else None
    if objective.then != "best":
        message = "a search goes on with the best trial only"
        raise BadInput(Problem(key="objective.then", value="all", message=message, remedy="Leave it out"))
    if bound.settings.force:
        message = "a search computes each step once, and tells the sampler what is stored"
        remedy = "Leave it out; hydra.sweeper.study_name=… begins another study"
        raise BadInput(Problem(key="force", message=message, remedy=remedy))
    if objective.metric is None or is_assumed:
        return _by_default(bound, own)
    assert objective.direction is not None
    if own and own != objective.direction:
        message = f"objective.metric={objective.metric} is to be {objective.direction}d"
        remedy = f"Leave it out, or write {KEY}.direction={objective.direction}"
        raise BadInput(Problem(key=f"{KEY}.direction", value=own, message=message, remedy=remedy))
    stage, _, metric = objective.metric.rpartition(".")
    if not _yields(bound, stage):
        message = f"no step of this command yields it: the stage {stage} is not part of it"
        raise BadInput(
            Problem(key=METRIC, value=objective.metric, message=message, remedy=f"Add that stage: c={stage}")
        )
    note = note_on_choice(bound)
    return Score(stage=stage, requested=objective.metric, candidates={metric: objective.direction}, note=note)


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
