"""Search with the samplers of Optuna."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import TrialState, create_trial

from when_ml_pipeline_meets_hydra.searching.samplers.interface import Proposal, Scores
from when_ml_pipeline_meets_hydra.searching.samplers.optuna_options import learns, sampler_of, takes_constraints
from when_ml_pipeline_meets_hydra.searching.settings import SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value

_OF_STUDY = "study"  # the part of a memo that belongs to the study


class OptunaSampler:
    """Asks a study in memory; the seed of each trial is made from the seed of the search and its number."""

    def __init__(
        self, space: Space, seed: int, settings: SearchSettings, objectives: int = 1, constraints: int = 0
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"optuna\.")
        self._space = space
        self._distributions = {d.key: _distribution(d) for d in space.dimensions}
        self._seed = settings.options.get("seed") or seed
        self._violations: dict[int, tuple[float, ...]] = {}
        unknown = (0.0,) * constraints  # of a pruned trial
        limits = (lambda trial: self._violations.get(trial.number, unknown)) if constraints else None
        sampler, self._is_sequence = sampler_of(settings.options, space, self._seed, objectives, limits)
        self._knows_limits = takes_constraints(type(sampler)) or not learns(type(sampler))
        self._study = optuna.create_study(directions=["maximize"] * objectives, sampler=sampler)
        self._states = list(_random_states(sampler, set()))
        self._numbers: dict[int, int] = {}
        self._is_exhausted = False

    def ask(self, number: int) -> Proposal | None:
        """Propose a trial."""
        if self._is_exhausted:
            return None
        if not self._is_sequence:
            for state in self._states:
                state.rng.seed(_seed_of(self._seed, number))
        trial = self._study.ask()
        options: dict[str, Value] = {d.key: self._suggest(trial, d) for d in self._space.groups}
        values = options | {d.key: self._suggest(trial, d) for d in self._space.drawn_with(options)}
        self._numbers[number] = trial.number
        return Proposal(values=values, memo=self._memo(trial.number))

    def add(self, number: int, proposal: Proposal) -> None:
        """Add a trial that is running elsewhere."""
        memo = dict(proposal.memo)
        for key, value in memo.pop(_OF_STUDY, {}).items():
            self._study._storage.set_study_system_attr(self._study._study_id, key, value)
        known = {key: self._distributions[key] for key in proposal.values}
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(proposal.values),
            distributions=known,
            system_attrs=memo,
        )
        self._study.add_trial(trial)
        self._numbers[number] = len(self._study.get_trials(deepcopy=False)) - 1

    def tell(self, number: int, scores: Scores | None) -> None:
        """Tell the study the scores; for a sampler without constraints, a trial that breaks one has failed."""
        place = self._numbers[number]
        is_broken = scores is not None and any(violation > 0 for violation in scores.violations)
        try:
            if scores is None or (is_broken and not self._knows_limits):
                self._study.tell(place, state=TrialState.FAIL)
            else:
                self._violations[place] = scores.violations
                self._study.tell(place, list(scores.values))
        except RuntimeError:  # a sampler that has proposed every point stops the study, which is not running here
            self._is_exhausted = True

    def prune(self, number: int, step: int, value: float) -> None:
        """Tell the study the last partial score, below which such trials are taken to end."""
        place = self._numbers[number]
        trial_id = self._study.get_trials(deepcopy=False)[place]._trial_id
        self._study._storage.set_trial_intermediate_value(trial_id, step, value)
        self._study.tell(place, state=TrialState.PRUNED)

    def _memo(self, number: int) -> dict[str, Any]:
        frozen = self._study.get_trials(deepcopy=False)[number]
        memo = dict(frozen.system_attrs)
        if self._is_sequence:  # it counts in the study
            memo[_OF_STUDY] = dict(self._study._storage.get_study_system_attrs(self._study._study_id))
        return {key: value for key, value in memo.items() if _is_json(value)}

    def _suggest(self, trial: optuna.trial.Trial, dimension: Dimension) -> Value:
        value: Value = trial._suggest(dimension.key, self._distributions[dimension.key])
        return value


make = OptunaSampler


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _seed_of(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.values:
        return CategoricalDistribution(dimension.values)
    low, high, log = dimension.low, dimension.high, dimension.is_log
    if dimension.is_whole:
        return IntDistribution(int(low), int(high), log=log, step=int(dimension.step or 1))
    return FloatDistribution(low, high, log=log, step=dimension.step)


def _random_states(part: Any, seen: set[int]) -> Iterator[LazyRandomState]:
    """Yield the random states of a sampler: a new sampler for each seed would learn the space anew each time."""
    if isinstance(part, LazyRandomState):
        yield part
    elif type(part).__module__.startswith("optuna.samplers") and id(part) not in seen:
        seen.add(id(part))
        for inner in getattr(part, "__dict__", {}).values():
            yield from _random_states(inner, seen)
