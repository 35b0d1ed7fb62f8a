"""Composes the jobs of a search: of points that are proposed in batches, and are no product of lists."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from when_ml_pipeline_meets_hydra.composing.compose import ParsedCommand
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override, elements, expand
from when_ml_pipeline_meets_hydra.composing.tree import STAGES
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, merged

Number = int | float
_INT_INTERVAL = re.compile(r"\bint\(\s*interval\(\s*(?:start\s*=)?\s*([\d.e+-]+)\s*,\s*(?:end\s*=)?\s*([\d.e+-]+)\s*\)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e[-+]?\d+)?")


class Drawn(NamedTuple):
    """An override with several values, of which a search draws one: from a list, a range or an interval.

    ``key`` is as in the override, with its sign. Of a list, ``values`` are the texts; otherwise ``low`` and ``high``
    are included, ``step`` is that of a range; ``tags`` are those of ``tag(…)``.
    """

    key: str
    is_group: bool
    values: tuple[str, ...] = ()
    low: Number = 0
    high: Number = 0
    step: Number | None = None
    tags: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The key without the sign."""
        return self.key.lstrip("+~")


class PointComposer:
    """Composes jobs from the overrides of a command and those of a point in turn.

    ``hydra`` is Hydra's own config, ``drawn`` are the overrides with several values. The jobs have the values of
    ``assumed`` overrides, but are not known by them. Raises ``BadInput`` with every override that is not valid.
    """

    def __init__(self, overrides: Sequence[str], config_dirs: Sequence[str] = (), assumed: Sequence[str] = ()) -> None:
        self._command = command = ParsedCommand((*overrides, *assumed), config_dirs, multirun=True, searches=True)
        self._assumed = tuple(assumed)
        command.check_sweeper(searches=True)
        self._numbers: dict[str, Override] = {}
        last = {o.get_key_element(): o for o in command.of_jobs}
        self.drawn = tuple(_drawn(o, command) for o in last.values() if _is_drawn(o))
        self._fixed = [o for o in last.values() if not _is_drawn(o)]
        if command.problems or not command.hydra:
            raise BadInput(*merged([*command.problems, *_of_the_rest(command, self._fixed)]))

    def _parse(self, line: str) -> Override:
        """Parse an override; a number by its key's first one, since Hydra's parser takes a millisecond."""
        key, _, text = line.partition("=")
        if not _NUMBER.fullmatch(text):
            return self._command.loader.parse(line)
        if key not in self._numbers:
            self._numbers[key] = self._command.loader.parse(f"{key}=0")
        if not isinstance(self._numbers[key].value(), int):  # the name of an option
            return self._command.loader.parse(line)
        value = int(text) if text.lstrip("-").isdigit() else float(text)
        return replace(self._numbers[key], _value=value, input_line=line)

    @property
    def hydra(self) -> Mapping[str, Any]:
        """Hydra's own config."""
        return self._command.hydra

    @property
    def fixed(self) -> tuple[str, ...]:
        """The overrides that all points share, without those that are assumed."""
        return tuple(line for o in self._fixed if (line := str(o.input_line)) not in self._assumed)

    @property
    def jobs_per_point(self) -> int:
        """The number of jobs of a point: of stages in ``c=a,b``."""
        return sum(1 for _ in expand(self._fixed))

    def compose(self, points: Iterable[Sequence[str]], first: int = 0, place: int | None = None) -> Composed:
        """Compose the jobs of points, each a list of overrides, numbered from ``first``; problems are in the result.

        With ``place``, of each point only the job in that place.
        """
        command = self._command
        command.problems = []
        jobs = command.jobs(self._expanded(points, place), multirun=True, first=first)
        return command.composed(list(map(self._by_itself, jobs)))

    def _expanded(self, points: Iterable[Sequence[str]], place: int | None) -> Iterator[tuple[Override, ...]]:
        for point in points:
            jobs = list(expand([*self._fixed, *map(self._parse, point)]))
            yield from jobs if place is None else [jobs[place]]

    def _by_itself(self, job: Job) -> Job:
        """The job as a command of its own, which searches nothing."""
        overrides, combination, choices = map(self._own, (job.overrides, job.combination, job.choices))
        return replace(job, overrides=overrides, combination=combination, choices=choices)

    def _own(self, lines: Iterable[str]) -> tuple[str, ...]:
        others = (line for line in lines if line not in self._assumed)
        return tuple(line for line in others if not line.lstrip("+").startswith(("hydra/sweeper=", "hydra/sweeper/")))


def _is_drawn(override: Override) -> bool:
    return override.is_sweep_override() and override.key_or_group != STAGES


def _drawn(override: Override, command: ParsedCommand) -> Drawn:
    key, value = override.get_key_element(), override.value()
    is_group = command.loader.is_choice(override)
    tags = frozenset(map(str, getattr(value, "tags", ())))
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        low, high = _whole_limits(override) or (value.start, value.end)
        return Drawn(key, is_group, low=low, high=high, tags=tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        numbers = value.range()
        first = last = next(iter(numbers))
        start, stop, step = value.start, value.stop, value.step
        assert start is not None
        assert stop is not None
        whole = all(isinstance(n, int) for n in (start, stop, step))
        count = -((start - stop) // step) if whole else len(list(value.range()))
        last = start + (count - 1) * step
        low, high = min(first, last), max(first, last)
        return Drawn(key, is_group, low=low, high=high, step=abs(step), tags=tags)
    texts = tuple(str(e.input_line).partition("=")[2] for e in elements(override))
    return Drawn(key, is_group, values=texts, tags=tags)


def _whole_limits(override: Override) -> tuple[int, int] | None:
    """The whole numbers between the limits of ``int(interval(0.5,3.2))``, 1 and 3; Hydra cuts both down to 0 and 3.

    None of any other interval. The first is larger than the second if there is none between them.
    """
    found = _INT_INTERVAL.search(str(override.input_line).partition("=")[2])
    return (math.ceil(float(found[1])), math.floor(float(found[2]))) if found else None


def _of_the_rest(command: ParsedCommand, fixed: Sequence[Override]) -> Iterator[Problem]:
    """The problems of the overrides that are not drawn."""
    jobs = command.jobs(expand(fixed), multirun=True)
    yield from command.composed(jobs).problems
