"""Stops trials by their partial scores, with the pruners of Optuna, whatever proposes the trials."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.execution.pruning import PartialScore

KEY = "hydra.sweeper.pruner"
Reports = Mapping[str, list[tuple[int, float]]]  # sequence, as ``modeling fold 1/5`` → (step, value)


class TrialPruner:
    """Decides by an Optuna study for each sequence of partial scores: those of one fold, or of the means over folds.

    The values of one sequence are comparable between trials. Trials of earlier runs, and of other processes, count.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._make = _maker(options)
        self._make()
        self._sequences: dict[str, _Sequence] = {}
        self._reports: dict[int, dict[str, list[tuple[int, float]]]] = {}

    def should_stop(self, score: PartialScore) -> bool:
        """Return whether the trial of a job is hopeless; NaN is."""
        name = " ".join(filter(None, (score.stage, score.element)))
        value = score.value if score.is_maximized else -score.value
        if math.isnan(value):
            return True
        self._reports.setdefault(score.trial, {}).setdefault(name, []).append((score.step, value))
        return self._sequence(name).reported(score.trial, score.step, value)

    def ended(self, job: int, *, has_score: bool) -> Reports:
        """Return what the trial of a job has reported; if it has a score, others are compared with it."""
        reports = self._reports.pop(job, {})
        for name in reports:
            self._sequence(name).ended(job, has_score=has_score)
        return reports

    def add(self, reports: Reports) -> None:
        """Learn what a trial with a score has reported in another process."""
        for name, points in reports.items():
            self._sequence(name).add(points)

    def _sequence(self, name: str) -> _Sequence:
        return self._sequences.setdefault(name, _Sequence(self._make()))


class _Sequence:
    """The reports of all trials in one sequence; larger values are better."""

    def __init__(self, pruner: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler())
        self._trials: dict[int, Any] = {}

    def reported(self, job: int, step: int, value: float) -> bool:
        trial = self._trials.get(job) or self._trials.setdefault(job, self._study.ask())
        trial.report(value, step)
        return bool(trial.should_prune())

    def ended(self, job: int, *, has_score: bool) -> None:
        from optuna.trial import TrialState

        trial = self._trials.pop(job)
        last = trial.storage.get_trial(trial._trial_id).last_step
        value = trial.storage.get_trial(trial._trial_id).intermediate_values[last]
        if has_score:
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def add(self, points: list[tuple[int, float]]) -> None:
        import optuna

        values = {int(step): float(value) for step, value in points}
        trial = optuna.trial.create_trial(value=values[max(values)], intermediate_values=values)
        self._study.add_trial(trial)


def make_pruner(options: Mapping[str, Any] | None) -> TrialPruner | None:
    """Make the requested pruner; None if none is. Raises ``BadInput``."""
    return TrialPruner(options) if options and options.get("_target_") else None


def _maker(options: Mapping[str, Any]) -> Callable[[], Any]:
    if find_spec("optuna") is None:
        message, remedy = "pruners are those of Optuna", "pip install 'when_ml_pipeline_meets_hydra[optuna]'"
        raise BadInput(Problem(key=KEY, message=message, remedy=remedy))
    import optuna

    target = str(options["_target_"])
    module, _, name = target.rpartition(".")
    usable = [n for n in dir(optuna.pruners) if n.endswith("Pruner") and not n.startswith(("Base", "Patient"))]
    if module != "optuna.pruners" or name not in usable:
        near = did_you_mean(target, [f"optuna.pruners.{n}" for n in usable])
        raise BadInput(Problem(key=f"{KEY}._target_", value=target, message="is no pruner of Optuna", remedy=near))
    kind = getattr(optuna.pruners, name)
    given = {key: value for key, value in options.items() if key != "_target_"}
    known = [n for n in inspect.signature(kind.__init__).parameters if n != "self"]
    if wrong := [key for key in given if key not in known]:
        near = did_you_mean(f"{KEY}.{wrong[0]}", [f"{KEY}.{n}" for n in known])
        raise BadInput(Problem(key=f"{KEY}.{wrong[0]}", message=f"{name} has no such value", remedy=near))
    try:
        kind(**given)
    except (TypeError, ValueError) as error:
        raise BadInput(Problem(key=KEY, message=f"{name} refuses its values: {error}")) from error
    return lambda: kind(**given)
