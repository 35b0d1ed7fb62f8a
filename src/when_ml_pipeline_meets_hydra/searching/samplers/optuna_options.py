"""The samplers of Optuna, made from the options of a search."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.searching.settings import WITHOUT_EFFECT
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value

KEY = "hydra.sweeper.sampler"
TPE = "optuna.samplers.TPESampler"
# Arguments that are no values.
_NO_VALUES = ("search_space", "constraints_func", "gamma", "weights", "source_trials", "independent_sampler")
# Package that a sampler imports when it is used first.
_FURTHER_PACKAGES = {"CmaEsSampler": "cmaes", "GPSampler": "torch"}
# Those that propose by the place in a sequence, which one seed for all trials begins.
_SEQUENCES = ("QMCSampler",)
_DISCRETE = ("GridSampler", "BruteForceSampler")
# Those that do not learn from scores.
_BLIND = ("RandomSampler", "QMCSampler", "GridSampler", "BruteForceSampler")
# Those that have one objective.
_OF_ONE = ("CmaEsSampler",)
# The smallest allowed values, which Optuna does not check.
_LEAST = {
    "n_startup_trials": 0,
    "n_ei_candidates": 1,
    "population_size": 2,
    "popsize": 2,
    "inc_popsize": 1,
    "dividing_parameter": 1,
    "prior_weight": 0,
    "mutation_prob": 0,
    "crossover_prob": 0,
    "swapping_prob": 0,
    "sigma0": 0,
}


def takes_constraints(kind: Callable[..., BaseSampler]) -> bool:
    """Return whether a sampler can be told how far a trial breaks constraints."""
    return "constraints_func" in inspect.signature(kind).parameters


def learns(kind: type[BaseSampler]) -> bool:
    """Return whether the scores of trials change what a sampler proposes."""
    return kind.__name__ not in _BLIND


def sampler_of(
    options: Mapping[str, Any],
    space: Space,
    seed: int,
    objectives: int,
    limits: Callable[[FrozenTrial], Sequence[float]] | None,
) -> tuple[BaseSampler, bool]:
    """Make a sampler, and return whether it proposes by the place in a sequence. Raises ``BadInput``."""
    given = {k: v for k, v in options.items() if k not in ("_target_", "seed", *WITHOUT_EFFECT)}
    kind = _kind(str(options.get("_target_", TPE)))
    name = kind.__name__
    parameters = inspect.signature(kind.__init__).parameters
    known = [n for n in parameters if n not in ("self", *_NO_VALUES)]
    if wrong := [key for key in given if key not in known]:
        near = did_you_mean(f"{KEY}.{wrong[0]}", [f"{KEY}.{n}" for n in known])
        raise BadInput(Problem(key=f"{KEY}.{wrong[0]}", message=f"{name} has no such value", remedy=near))
    _check_numbers(given, name, parameters)
    if objectives > 1 and name in _OF_ONE:
        message = f"{name} has one objective, and objective.metric names {objectives}"
        raise BadInput(Problem(key=KEY, message=message, remedy="Choose tpe, nsgaii, nsgaiii or random"))
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
    if limits and takes_constraints(kind):
        given["constraints_func"] = limits
    try:
        return kind(**given, seed=seed), name in _SEQUENCES
    except (TypeError, ValueError) as error:
        raise BadInput(Problem(key=KEY, message=f"{name} refuses its values: {error}")) from error


def _check_numbers(given: Mapping[str, Any], name: str, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Raise ``BadInput`` for a number that is too small, or none."""
    problems = []
    for key, least in _LEAST.items():
        if (value := given.get(key)) is None:
            continue
        is_whole = isinstance(parameters[key].default, int) or key in ("popsize", "population_size")
        is_number = not isinstance(value, bool) and isinstance(value, int if is_whole else int | float)
        if not is_number or value < least:
            wanted = f"{name} expects {'a whole number' if is_whole else 'a number'}, at least {least}"
            problems.append(Problem(key=f"{KEY}.{key}", value=str(value), message=wanted))
    if problems:
        raise BadInput(*problems)


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
