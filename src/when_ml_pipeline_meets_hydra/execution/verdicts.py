"""Decide the choices of a plan, as soon as all of their candidates have ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status, format_metric
from when_ml_pipeline_meets_hydra.planning.choice import Choice
from when_ml_pipeline_meets_hydra.planning.plan import Action, Step


class Verdicts:
    """The choices that some steps depend on, and the best candidates of those that are decided."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps: dict[Choice, list[str]] = {}
        for step in steps:
            for choice, _ in step.candidacies:
                self._steps.setdefault(choice, []).append(step.key)
        self._waiting = {choice: set(choice.candidates) for choice in self._steps}
        self._choices: dict[str, list[Choice]] = {}
        for choice in self._steps:
            for key in set(choice.candidates):
                self._choices.setdefault(key, []).append(choice)
        self._metrics: dict[str, Mapping[str, float]] = {}
        self._best: dict[Choice, int | None] = {}

    def ended(self, outcome: Outcome) -> Iterator[str]:
        """Record the outcome of a step; yield the keys of the steps that depend on a choice now decided."""
        key = outcome.step.key
        choices = self._choices.pop(key, ())
        if choices and outcome.status in (Status.DONE, Status.STORED):
            self._metrics[key] = outcome.metrics or {}
        for choice in choices:
            self._waiting[choice].discard(key)
            if not self._waiting[choice]:
                self._best[choice] = choice.best(self._metrics)
                yield from self._steps[choice]

    def decided(self, step: Step) -> Step | Outcome:
        """Return the step as one that runs if its combination is chosen, otherwise its outcome."""
        if step.action is not Action.IF_BEST:
            return step
        for choice, place in step.candidacies:
            if self._best[choice] == place:
                return replace(step, action=Action.RUN, reason=self._won(choice, place), candidacies=())
        choice, place = step.candidacies[0]
        if self._best[choice] is None:
            return Outcome(
                step=step,
                status=Status.FAILED,
                reason=step.reason,
                error=self._without_metric(choice),
                exit_code=ExitCode.STEP_FAILED,
            )
        return Outcome(step=step, status=Status.NOT_CHOSEN, reason=self._lost(choice, place))

    def _won(self, choice: Choice, place: int) -> str:
        return f"chosen, the best {self._shown(choice, place)} of {len(choice.candidates)} combinations"

    def _lost(self, choice: Choice, place: int) -> str:
        best = self._best[choice]
        assert best is not None
        winner = f"the best one is {self._shown(choice, best)} in job {choice.jobs[best]}"
        own = self._shown(choice, place) if choice.value(place, self._metrics) is not None else f"no {choice.metric}"
        return f"{own}, {winner}"

    def _shown(self, choice: Choice, place: int) -> str:
        value = choice.value(place, self._metrics)
        assert value is not None
        return f"{choice.metric}={format_metric(value)}"

    def _without_metric(self, choice: Choice) -> str:
        found = dict.fromkeys(name for key in choice.candidates for name in self._metrics.get(key, ()))
        known = f"they have {', '.join(found)}" if found else "they measured nothing"
        return f"none of the {len(choice.candidates)} combinations has the metric {choice.metric}: {known}"
