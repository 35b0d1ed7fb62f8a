"""Stop combinations early: a pruner decides by their partial scores, while they are trained and after each fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import fsum
from typing import TYPE_CHECKING, Protocol

from when_ml_pipeline_meets_hydra.errors import StepFailed, first_line
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status, format_metric
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.binding.settings import Objective
    from when_ml_pipeline_meets_hydra.execution.progress import Answer


@dataclass(frozen=True, kw_only=True)
class PartialScore:
    """The metric of the objective before a combination has been evaluated to the end.

    ``trial`` is the number of the combination's first job. Either its training reports (``stage`` and ``element`` are
    those of the training, as ``modeling`` and ``fold 2/5``; ``step`` counts epochs or trees), or folds have ended:
    then ``stage`` is that of the objective, ``element`` None, ``step`` their number and ``value`` the mean over them.
    Values are comparable with those of other trials that have the same stage, element and step.
    """

    trial: int
    stage: str
    element: str | None
    step: int
    metric: str
    value: float
    is_maximized: bool

    @property
    def text(self) -> str:
        """Step and value: ``step 7 (r2=0.31)``."""
        return f"step {self.step} ({self.metric}={format_metric(self.value)})"


class Pruner(Protocol):
    """Decides by partial scores whether a combination stops. Called from one thread, with the scores as they come."""

    def should_stop(self, score: PartialScore) -> bool:
        """Return whether the combination is hopeless. ``value`` may be NaN or infinite."""


@dataclass(kw_only=True)
class _Trial:
    """A combination: the steps ``within`` its score, and the ``folds``, keys of which the score is the mean."""

    number: int
    jobs: frozenset[int]
    within: frozenset[str]
    folds: tuple[tuple[str, ...], ...]
    asked: dict[tuple[str, ...], int] = field(default_factory=dict)
    reason: str | None = None


class Pruning:
    """The combinations of a plan that a pruner may stop. Without a pruner or an objective there are none."""

    def __init__(self, plan: Plan, objective: Objective | None, pruner: Pruner | None) -> None:
        self._of_job: dict[int, _Trial] = {}
        self._metrics: dict[str, float] = {}
        if pruner is None or objective is None or objective.metric is None:
            return
        self._pruner, self._metric = pruner, objective.metric
        self._stage, _, self._name = self._metric.rpartition(".")
        self._is_maximized = objective.direction != "minimize"
        self._to_run = {step.key for step in plan.steps if step.action is Action.RUN}
        for trial in _trials(plan, self._stage):
            self._of_job |= dict.fromkeys(trial.jobs, trial)

    def answer_to(self, step: Step) -> Answer | None:
        """Return the function that decides about the reports of a step; None if nobody is interested in them."""
        return partial(self._answer, step) if self._trials_of(step) and step.is_storable else None

    def reason(self, step: Step) -> str | None:
        """Return why a step is not needed any more: all combinations that it is part of were stopped."""
        trials = self._trials_of(step)
        is_shared = len({j for t in trials for j in t.jobs} & {*step.jobs}) < len(step.jobs)
        return None if is_shared or any(t.reason is None for t in trials) else trials[0].reason

    def ended(self, outcome: Outcome) -> None:
        """Ask the pruner about the mean so far, if the step is a fold."""
        if not self._of_job:
            return
        step = outcome.step
        self._to_run.discard(step.key)
        value = (outcome.metrics or {}).get(self._name)
        if value is not None and outcome.status in (Status.DONE, Status.STORED):
            self._metrics[step.key] = value
            for trial in self._trials_of(step):
                self._ask_about_folds(trial)

    def _ask_about_folds(self, trial: _Trial) -> None:
        """Ask about the mean over the first folds, after each; not if no computation is left to save."""
        for folds in trial.folds:
            while (count := trial.asked.get(folds, 0) + 1) < len(folds) and folds[count - 1] in self._metrics:
                trial.asked[folds] = count
                if trial.reason is None and self._to_run & trial.within:
                    value = fsum(self._metrics[key] for key in folds[:count]) / count
                    self._ask(trial, self._stage, None, count, self._metric, value)

    def _answer(self, step: Step, number: int, metrics: Mapping[str, float]) -> str | None:
        if (value := metrics.get(self._name)) is not None:
            for trial in self._trials_of(step):
                if trial.reason is None:
                    self._ask(trial, step.call.stage, step.call.element, number, self._name, value)
        return self.reason(step)

    def _ask(self, trial: _Trial, stage: str, element: str | None, step: int, metric: str, value: float) -> None:
        score = PartialScore(
            trial=trial.number,
            stage=stage,
            element=element,
            step=step,
            metric=metric,
            value=value,
            is_maximized=self._is_maximized,
        )
        try:
            stops = self._pruner.should_stop(score)
        except Exception as error:  # one of a sampler's library, or of a user
            raise StepFailed(f"the pruner failed ({type(error).__name__}: {first_line(error)})") from error
        if stops:
            trial.reason = f"pruned at {score.text}"

    def _trials_of(self, step: Step) -> list[_Trial]:
        found = {id(t): t for job in step.jobs if (t := self._of_job.get(job)) and step.key in t.within}
        return list(found.values())


def _trials(plan: Plan, stage: str) -> Iterator[_Trial]:
    """Yield the combinations that have a step of the stage."""
    steps = {step.key: step for step in plan.steps}
    for combination in plan.combinations:
        if (key := combination.keys.get(stage)) is not None:
            yield _Trial(
                number=combination.jobs[0],
                jobs=frozenset(combination.jobs),
                within=frozenset(_within(key, steps)),
                folds=tuple(_folds(steps[key])),
            )


def _within(key: str, steps: Mapping[str, Step]) -> set[str]:
    """The keys of a step and of all that it needs."""
    found, todo = {key}, [key]
    while todo:
        new = {*steps[todo.pop()].needs.values()} - found
        found |= new
        todo += new
    return found


def _folds(step: Step) -> Iterator[tuple[str, ...]]:
    """Yield the keys of the elements of each parameter that gathers some."""
    by_parameter: dict[str, list[str]] = {}
    for name, key in step.needs.items():
        parameter, is_element, _ = name.partition("[")
        if is_element:
            by_parameter.setdefault(parameter, []).append(key)
    yield from map(tuple, by_parameter.values())
