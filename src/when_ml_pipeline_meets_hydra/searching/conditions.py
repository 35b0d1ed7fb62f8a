"""Finds out which keys exist with which options, and whether the limits of a space are allowed.

The corners of the space are composed and bound for that, so that the types and validators of keys decide, and report,
as for any other value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.composing.job import NO_SUCH_KEY
from when_ml_pipeline_meets_hydra.composing.points import Drawn
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import is_secret_name
from when_ml_pipeline_meets_hydra.searching.space import Dimension, Space, Value

MOST_PRODUCTS = 64  # combinations of options that are all looked at; of more, each option once
MOST_VALUES = 200  # of a list
_FRACTION = 0.41421356  # where between its limits a number is probed
Probe = Callable[[Sequence[Sequence[str]]], list[list[Problem]]]
Options = Mapping[str, Value]


def find_space(drawn: Sequence[Drawn], probe: Probe) -> tuple[Space, list[tuple[str, ...]]]:
    """Return the space, and a point for each combination of options that was looked at.

    ``probe`` returns the problems of points. Raises ``BadInput``.
    """
    problems = list(chain.from_iterable(map(_wrong_limits, drawn)))
    if not drawn:
        remedy = "Add one, such as 'm_param.learning_rate=tag(log,interval(0.01,0.3))', or hydra.sweeper.params"
        problems = [Problem(key="hydra.sweeper.params", message="a search needs a space", remedy=remedy)]
    if problems:
        raise BadInput(*problems)
    dimensions = [_dimension(d) for d in drawn]
    groups = tuple(d for d in dimensions if d.is_group)
    others = [d for d in dimensions if not d.is_group]
    corners = _Corners(groups, others, probe)
    others = [corners.checked(d) for d in others]
    corners.raise_problems()
    return Space(groups=groups, others=tuple(others), active=corners.active), corners.lowest()


def _wrong_limits(drawn: Drawn) -> Iterator[Problem]:
    if is_secret_name(drawn.name):
        remedy = "Give it one value, from an environment variable"
        yield Problem(key=drawn.name, message="a secret is not searched: trials are kept in files", remedy=remedy)
    if wrong := drawn.tags - {"log"}:
        message = f"the tag '{sorted(wrong)[0]}' pairs lists of a sweep; a search draws each value for itself"
        yield Problem(key=drawn.name, message=message, remedy="Leave it out; tag(log,…) is a logarithmic scale")
    if drawn.values:
        if "log" in drawn.tags:
            yield Problem(key=drawn.name, message="a list has no logarithmic scale", remedy="Write interval(low,high)")
        return
    shown = f"{drawn.low:g}, {drawn.high:g}"
    if not (math.isfinite(drawn.low) and math.isfinite(drawn.high) and drawn.low <= drawn.high):
        if isinstance(drawn.low, int) and drawn.low == drawn.high + 1:  # of int(interval(.2,.8))
            yield Problem(key=drawn.name, message="there is no whole number between the limits")
        else:
            yield Problem(key=drawn.name, value=shown, message="expected two numbers, the smaller one first")
    elif "log" in drawn.tags and drawn.low <= 0:
        yield Problem(key=drawn.name, value=shown, message="a logarithmic scale has no numbers up to 0")
    elif "log" in drawn.tags and drawn.step not in (None, 1):
        yield Problem(key=drawn.name, message="a logarithmic scale has no steps", remedy="Write interval(low,high)")


def _dimension(drawn: Drawn) -> Dimension:
    step = None if "log" in drawn.tags else drawn.step
    return Dimension(
        key=drawn.key,
        is_group=drawn.is_group,
        values=tuple(dict.fromkeys(drawn.values)),
        low=drawn.low,
        high=drawn.high,
        step=step,
        is_log="log" in drawn.tags,
    )


def refuse_misfits(space: Space, bound: Bound) -> None:
    """Raise ``BadInput`` if a drawn key is a secret by its type, or a text of which numbers are drawn."""
    if secret := [d.name for d in space.others if d.name in bound.secret_keys]:
        raise BadInput(Problem(key=secret[0], message="a secret is not searched: trials are kept in files"))
    numbers = [d.name for d in space.others if not d.values]
    texts = (name for name in numbers for call in bound.all_calls if isinstance(_at(call.keyed, name), str))
    problems = [
        Problem(key=name, message="this is a text, of which no numbers are drawn", remedy=f"Write {name}=choice(…)")
        for name in dict.fromkeys(texts)
    ]
    if problems:
        raise BadInput(*problems)


def _at(arguments: Mapping[str, Any], name: str) -> Any:
    """The value of a key in the arguments of a call; None if they do not have it."""
    found: Any = arguments
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def notes_on(space: Space) -> Iterator[str]:
    """Yield the note on a search among seeds."""
    if any(d.name == "seed" for d in space.others):
        yield (
            "Note: seed is drawn, which also decides what rows are held out: the best trial may be the one with the "
            "easiest rows. To search among seeds of the training alone, draw m_param.seed"
        )


class _Corners:
    """The probed points: for each combination of options the lowest and highest values, and some between them."""

    def __init__(self, groups: Sequence[Dimension], others: Sequence[Dimension], probe: Probe) -> None:
        self._groups, self._others, self._probe = groups, others, probe
        self._count = max([3, *(len(d.values) for d in others if len(d.values) <= MOST_VALUES)])
        self._options = list(_combinations(groups))
        self._keys: dict[tuple[Value, ...], frozenset[str]] = {}
        points = [self._point(options, n) for options in self._options for n in range(self._count)]
        found = probe([[*lines] for lines in points])
        self._found = [found[start : start + self._count] for start in range(0, len(found), self._count)]
        for options, of_points in zip(self._options, self._found, strict=True):
            self._keys[tuple(options.values())] = self._existing(of_points[0])

    def _point(self, options: Options, place: int, keys: frozenset[str] | None = None) -> tuple[str, ...]:
        chosen = [d.line(options[d.key]) for d in self._groups]
        return (*chosen, *(d.line(_probed(d, place)) for d in self._others if keys is None or d.name in keys))

    def _existing(self, problems: Sequence[Problem]) -> frozenset[str]:
        missing = {p.key for p in problems if p.message == NO_SUCH_KEY}
        return frozenset(d.name for d in self._others) - missing

    def active(self, options: Options) -> frozenset[str]:
        """Return the names of the keys that exist with these options."""
        chosen = tuple(options[d.key] for d in self._groups)
        if chosen not in self._keys:
            self._keys[chosen] = self._existing(self._probe([self._point(options, 0)])[0])
        return self._keys[chosen]

    def checked(self, dimension: Dimension) -> Dimension:
        """Return a dimension with whole numbers if its key takes no others."""
        if dimension.values or dimension.is_whole or dimension.step is not None:
            return dimension
        if not (float(dimension.low).is_integer() and float(dimension.high).is_integer()):
            return dimension
        wrong = [[any(p.key == dimension.name for p in ps) for ps in points[:3]] for points in self._found]
        if any(between and not low and not high for low, high, between in wrong):
            return replace(dimension, low=int(dimension.low), high=int(dimension.high))
        return dimension

    def raise_problems(self) -> None:
        """Raise ``BadInput`` with the values that are not allowed, and the keys that no option has."""
        names = {d.name: self._is_real(d) for d in self._others}
        existing = frozenset().union(*self._keys.values())
        problems: dict[Problem, None] = {}
        for options, of_points in zip(self._options, self._found, strict=True):
            for place, found in enumerate(of_points):
                for problem in found:
                    is_condition = problem.message == NO_SUCH_KEY and problem.key in existing
                    at_limits = any(p.key == problem.key for limit in of_points[:2] for p in limit)
                    is_between = place == 2 and (at_limits or not names.get(problem.key, True))
                    if not is_condition and not is_between and self._counts(problem, options):
                        problems[replace(problem, jobs=())] = None
        if problems:
            raise BadInput(*(self._explained(p) for p in problems))

    def _is_real(self, dimension: Dimension) -> bool:
        return not (dimension.values == () and self.checked(dimension).is_whole)

    def _counts(self, problem: Problem, options: Options) -> bool:
        """Whether a problem is that of a key that is drawn, or of all points with an option, rather than of some."""
        if problem.key in {d.name for d in self._others}:
            return True
        having = [all(_has(found, problem) for found in points) for points in self._found]
        return all(having) or any(
            all(has for has, o in zip(having, self._options, strict=True) if o[d.key] == options[d.key])
            for d in self._groups
        )

    def _explained(self, problem: Problem) -> Problem:
        dimension = next((d for d in self._others if d.name == problem.key), None)
        if dimension is None:
            return problem
        if problem.message == NO_SUCH_KEY and self._groups:
            among = " or ".join(d.name for d in self._groups)
            return replace(problem, origin=None, message=f"there is no such key with any drawn option of {among}")
        if dimension.values or problem.message == NO_SUCH_KEY:
            return replace(problem, origin=None)
        limits = f"the space is from {dimension.low:g} to {dimension.high:g}"
        return replace(problem, origin=None, remedy=f"Change its limits: {limits}")

    def lowest(self) -> list[tuple[str, ...]]:
        """Return the point with the lowest values for each combination of options."""
        return [self._point(options, 0, self._keys[tuple(options.values())]) for options in self._options]


def _has(found: Sequence[Problem], problem: Problem) -> bool:
    return any(p.key == problem.key and p.message == problem.message for p in found)


def _combinations(groups: Sequence[Dimension]) -> Iterator[Options]:
    """Yield all combinations of options; of too many, each option with the first ones of the other groups."""
    first: dict[str, Value] = {d.key: d.values[0] for d in groups}
    if math.prod(len(d.values) for d in groups) <= MOST_PRODUCTS:
        for chosen in product(*(d.values for d in groups)):
            yield dict(zip(first, chosen, strict=True))
        return
    yield dict(first)
    for d in groups:
        yield from ({**first, d.key: value} for value in d.values[1:])


def _probed(dimension: Dimension, place: int) -> Any:
    if dimension.values:
        return dimension.values[place % len(dimension.values)]
    low, high = (
        int(v) if float(v).is_integer() and dimension.step is None else v for v in (dimension.low, dimension.high)
    )
    if place != 2 or dimension.step is not None or isinstance(dimension.low, int):
        return high if place % 2 else low
    return low + (high - low) * _FRACTION
