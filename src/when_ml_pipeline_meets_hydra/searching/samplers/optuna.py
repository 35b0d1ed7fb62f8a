"""Search with the samplers of Optuna."""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import TrialState, create_trial

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.searching.samplers.interface import Proposal
from when_ml_pipeline_meets_hydra.searching.settings import WITHOUT_EFFECT, SearchSettings
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value

KEY = "hydra.sweeper.sampler"
TPE = "optuna.samplers.TPESampler"
# Arguments that are no values.
_NO_VALUES = ("search_space", "constraints_func", "gamma", "weights", "source_trials", "independent_sampler")
_OF_STUDY = "study"  # the part of a memo that belongs to the study
# Package that a sampler imports when it is used first.
_FURTHER_PACKAGES = {"CmaEsSampler": "cmaes", "GPSampler": "torch"}
# Those that propose by the place in a sequence, which one seed for all trials begins.
_SEQUENCES = ("QMCSampler",)
_DISCRETE = ("GridSampler", "BruteForceSampler")


class OptunaSampler:
    """Asks a study in memory; the seed of each trial is made from the seed of the search and its number."""

    def __init__(self, space: Space, seed: int, settings: SearchSettings) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"optuna\.")
        self._space = space
        self._distributions = {d.key: _distribution(d) for d in space.dimensions}
        self._seed = settings.options.get("seed") or seed
        sampler, self._is_sequence = _sampler(settings.options, space, self._seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
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

    def tell(self, number: int, score: float | None) -> None:
        """Tell the study the score."""
        try:
            if score is None:
                self._study.tell(self._numbers[number], state=TrialState.FAIL)
            else:
                self._study.tell(self._numbers[number], score)
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


def _sampler(options: Mapping[str, Any], space: Space, seed: int) -> tuple[BaseSampler, bool]:
    """Make a sampler, and return whether it proposes by the place in a sequence. Raises ``BadInput``."""
    given = {k: v for k, v in options.items() if k not in ("_target_", "seed", *WITHOUT_EFFECT)}
    kind = _kind(str(options.get("_target_", TPE)))
    name = kind.__name__
    parameters = inspect.signature(kind.__init__).parameters
    known = [n for n in parameters if n not in ("self", *_NO_VALUES)]
    if wrong := [key for key in given if key not in known]:
        near = did_you_mean(f"{KEY}.{wrong[0]}", [f"{KEY}.{n}" for n in known])
        raise BadInput(Problem(key=f"{KEY}.{wrong[0]}", message=f"{name} has no such value", remedy=near))
    if name in _DISCRETE and (real := [d for d in space.dimensions if d.count is None]):
        message = f"{name} tries every point, and an interval has too many"
        raise BadInput(Problem(key=real[0].name, message=message, remedy="Write range(start,stop,step) or choice(…)"))
    package = _FURTHER_PACKAGES.get(name)
    if package and find_spec(package) is None:
        message, remedy = f"{name} needs the package {package}", f"pip install {package}, or hydra/sweeper/sampler=tpe"
        raise BadInput(Problem(key=KEY, message=message, remedy=remedy))
    if name == "GridSampler":
        given["search_space"] = {d.key: _all(d) for d in space.dimensions}
    if "constant_liar" in parameters:
        given.setdefault("constant_liar", True)
    try:
        return kind(**given, seed=seed), name in _SEQUENCES
    except (TypeError, ValueError) as error:
        raise BadInput(Problem(key=KEY, message=f"{name} refuses its values: {error}")) from error


def _kind(target: str) -> Callable[..., BaseSampler]:
    module, _, name = target.rpartition(".")
    kind = getattr(optuna.samplers, name, None)
    is_usable = inspect.isclass(kind) and issubclass(kind, BaseSampler) and not inspect.isabstract(kind)
    if module != "optuna.samplers" or not is_usable or name == "PartialFixedSampler":
        usable = [n for n in dir(optuna.samplers) if n.endswith("Sampler") and not n.startswith(("Base", "Partial"))]
        remedy = did_you_mean(target, [f"optuna.samplers.{n}" for n in usable])
        raise BadInput(Problem(key=f"{KEY}._target_", value=target, message="is no sampler of Optuna", remedy=remedy))
    assert kind is not None
    return kind  # type: ignore[no-any-return]


def _all(dimension: Dimension) -> list[Value]:
    return [*dimension.values] or [dimension.number(n) for n in range(dimension.count or 0)]
