"""Composes the jobs of a sweep with as few compositions by Hydra as possible.

Hydra composes a base config once; options are swapped and values are set in it in place. A top-level key is resolved
once for each state of what it depends on, so jobs share the parts in which they do not differ.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, NamedTuple

from omegaconf import DictConfig

from when_ml_pipeline_meets_hydra.composing.config_loader import CompositionError, Loader
from when_ml_pipeline_meets_hydra.composing.interpolations import limited_interpolations
from when_ml_pipeline_meets_hydra.composing.job import override_dirname
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.composing.resolvers import describe_job, hydra_config
from when_ml_pipeline_meets_hydra.composing.swaps import Swappable, can_swap, node_at, option_files, swappable
from when_ml_pipeline_meets_hydra.composing.values import as_written, plain, references, set_value, texts
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import Redactor

_TOP = re.compile(r"[^.\[]*")
_READ_AS_VALUE = re.compile(r"[-+]?[\d.][\d.e_+-]*|true|false|nan|[-+]?inf", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """The config of one job, resolved and unresolved (``raw``), and the problems of its values.

    ``choices`` and ``values`` are its overrides of groups and of keys, ``chosen`` maps each group to its option.
    """

    config: Mapping[str, Any]
    raw: Mapping[str, Any]
    faults: Mapping[str, str]
    problems: tuple[Problem, ...]
    choices: tuple[str, ...]
    values: tuple[str, ...]
    chosen: Mapping[str, str]


class SweepComposer:
    """Composes jobs from overrides; ``hydra_values`` are the overrides of Hydra's own keys."""

    def __init__(self, loader: Loader, hydra_values: Sequence[Override] = ()) -> None:
        self._loader, self._hydra_values = loader, hydra_values
        self._bases: list[_BaseConfig] = []
        self._failed: dict[tuple[str, ...], Exception] = {}

    def compose(self, overrides: Sequence[Override], number: int | None = None) -> JobConfig:
        """Compose the config of one job; ``number`` is its number in a sweep.

        Raises ``CompositionError`` or ``BadInput`` where the options do not fit together.
        """
        is_value = [not self._loader.is_choice(o) for o in overrides]
        wanted = self._listed([_Choice.of(o) for o, no in zip(overrides, is_value, strict=True) if not no])
        base = self._base(wanted)
        base.choose(wanted)
        return base.job_config(wanted, list(compress(overrides, is_value)), overrides, number)

    def whole(self, choices: Sequence[Override]) -> DictConfig:
        """Compose a config with Hydra's own part, in which ``hydra_values`` are set."""
        return self._base(self._listed([_Choice.of(c) for c in choices])).whole

    @property
    def is_constant(self) -> bool:
        """Whether no value has to be resolved for each job again, as by ``${now:…}``."""
        return all(base.is_constant for base in self._bases)

    def problems(self) -> Iterator[Problem]:
        """The problems of option files and of Hydra's own keys, which are the same for all jobs."""
        for base in self._bases:
            yield from base.problems

    def _listed(self, choices: list[_Choice]) -> list[_Choice]:
        """The choices under their names in the defaults list.

        A user's group is not in the primary config: the defaults list of a subcommand may have it, under a longer name
        (``fourth/size@fourth_sub.fourth.size``); otherwise it is added.
        """
        listed = [c for c in choices if c.is_listed(self._loader.listed)]
        if len(listed) == len(choices):
            return choices
        names = [d.override_key for d in self._base(listed).defaults if d.override_key]
        return [c if c in listed else c.renamed(names) for c in choices]

    def _base(self, choices: Sequence[_Choice]) -> _BaseConfig:
        for base in reversed(self._bases):
            if base.fits(choices):
                return base
        lines = tuple(c.line for c in choices)
        if lines in self._failed:
            raise self._failed[lines]
        try:
            self._bases.append(_BaseConfig(self._loader, choices, self._hydra_values))
        except (*CompositionError, BadInput) as error:
            self._failed[lines] = error
            raise
        return self._bases[-1]


def _top_of(value: Override) -> str:
    """Return the top-level key of an override."""
    return str(_TOP.match(value.key_or_group)[0])  # type: ignore[index]


class _Choice(NamedTuple):
    """An override that chooses an option; ``option`` is None where its value is not one option's name."""

    sign: str
    key: str
    option: str | None
    line: str

    @classmethod
    def of(cls, override: Override) -> _Choice:
        key = override.get_key_element().lstrip("+~")
        sign = override.get_key_element()[: -len(key)]
        value = override.value()
        option = value if isinstance(value, str) and sign in ("", "+") else None
        line = str(override.input_line)
        if option is not None and _READ_AS_VALUE.fullmatch(option):
            line = f"{sign}{key}='{option}'"
        return cls(sign, key, option, line)

    def is_listed(self, listed: frozenset[str]) -> bool:
        return "@" in self.key or self.key in listed or self.key.startswith("hydra/")

    def renamed(self, names: Sequence[str]) -> _Choice:
        nested = {n: None for n in names if n.partition("@")[0] == self.key}
        if len(nested) > 1:  # ambiguous, so the option is added instead
            nested = {}
        sign = "~" if self.sign == "~" else "" if nested else "+"
        key = next(iter(nested), self.key)
        _, equals, value = self.line.partition("=")
        return _Choice(sign, key, self.option if sign != "~" else None, f"{sign}{key}{equals}{value}")


class _Part(NamedTuple):
    """One top-level key of a config; ``is_absent`` if an override deleted it."""

    value: Any
    raw: Any
    faults: Mapping[str, str]
    problems: tuple[Problem, ...]
    is_absent: bool = False


class _BaseConfig:
    """A config composed by Hydra, from which those of jobs are made by swapping options and setting values."""

    def __init__(self, loader: Loader, choices: Sequence[_Choice], hydra_values: Sequence[Override]) -> None:
        self._loader = loader
        self._given = {c.key: c for c in choices}
        self._lines = tuple(c.line for c in choices)
        self._hydra_values = hydra_values
        self._cfg = loader.compose(self._lines)
        hydra: Any = self._cfg._content.pop("hydra")  # type: ignore[union-attr]
        self._chosen = {str(group): str(option) for group, option in hydra.runtime.choices.items() if option}
        self.defaults = loader.defaults(self._lines)
        self._options = dict(swappable(loader, self.defaults))
        self._current = {key: option.name for key, option in self._options.items()}
        self._nodes = {(k, o.name): node_at(self._cfg, o.package) for k, o in self._options.items()}
        self._fits: dict[tuple[str, str], bool] = {}
        self._states: dict[str, Any] = {str(top): id(self._cfg._get_node(top)) for top in self._cfg}
        self._parts: dict[tuple[Any, ...], _Part] = {}
        self.is_constant = True
        self._raws: dict[tuple[str, Any], Any] = {}
        self._texts: dict[str, tuple[str, ...]] = {}
        self._pickled: dict[tuple[str, Any], bytes] = {}
        self._references: dict[tuple[Any, ...], frozenset[str] | None] = {}

    @cached_property
    def whole(self) -> DictConfig:
        """The config with Hydra's own part, in which Hydra's values are set."""
        cfg = self._loader.compose(self._lines)
        for value in self._hydra_values:
            set_value(value, cfg, self._loader)
            cfg.hydra.overrides.hydra.append(value.input_line)
        return cfg

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of its option files and of Hydra's own keys."""
        wrong, cfg = list(Origins(lambda: self._loader, self._lines, (), Redactor()).misplaced()), None
        for value in self._hydra_values:
            cfg = cfg or self._loader.compose(self._lines)
            wrong += filter(None, [set_value(value, cfg, self._loader)])
        return tuple(wrong)

    def fits(self, choices: Sequence[_Choice]) -> bool:
        """Whether swapping options gives the config that Hydra would compose for these choices."""
        if not self._given.keys() <= {c.key for c in choices}:
            return False
        return all(self._fits_one(c) for c in choices)

    def _fits_one(self, choice: _Choice) -> bool:
        given = self._given.get(choice.key)
        if given is not None and given.line == choice.line:
            return True
        if choice.option is None or (given is None and choice.sign) or (given is not None and given.option is None):
            return False
        if given is not None and given.sign != choice.sign:
            return False
        key = choice.key, choice.option
        if key not in self._fits:
            option = self._options.get(choice.key)
            self._fits[key] = option is not None and can_swap(self._loader, option, choice.option)
        return self._fits[key]

    def choose(self, choices: Sequence[_Choice]) -> None:
        """Swap the options that differ from ``choices``."""
        wanted = {c.key: c.option for c in choices if c.key in self._options and c.option is not None}
        for key, option in self._options.items():
            name = wanted.get(key, option.name)
            if self._current[key] != name:
                self._swap(key, option, name)

    def _swap(self, key: str, option: Swappable, name: str) -> None:
        if (key, name) not in self._nodes:
            files = option_files(self._loader, f"{option.group}/{name}")
            assert files is not None
            self._nodes[key, name] = files.config
        node = self._nodes[key, name]
        parent = node_at(self._cfg, option.package[:-1])
        parent._content[option.package[-1]] = node
        node._set_parent(parent)
        node._set_key(option.package[-1])
        self._current[key] = name
        self._chosen = {**self._chosen, key: name}
        top = option.package[0]
        below = [(k, self._current[k]) for k, o in self._options.items() if o.package[0] == top]
        self._states[top] = (id(self._cfg._get_node(top)), *below)

    def job_config(
        self, choices: Sequence[_Choice], values: Sequence[Override], overrides: Sequence[Override], number: int | None
    ) -> JobConfig:
        """The config of one job, with ``values`` set; ``overrides`` are all of the job's."""
        lines: dict[str, tuple[str, ...]] = {}
        for value in values:
            top = _top_of(value)
            line = str(value.input_line)
            lines[top] = (*lines.get(top, ()), line)
            if line not in self._texts:
                self._texts[line] = tuple(texts(value.value()))
        tops = [*self._states, *(top for top in lines if top not in self._states)]
        keys = {top: self._part_key(top, lines) for top in tops}
        missing = [top for top, key in keys.items() if key not in self._parts]
        constant, volatile = [t for t in missing if None not in keys[t]], [t for t in missing if None in keys[t]]
        # What they refer to is all that has to be set for them.
        referenced = {str(state[0]) for top in constant for state in keys[top]}
        needed = [value for value in values if _top_of(value) in referenced]
        resolved = self._resolve(constant, needed) if constant else {}
        self._parts |= {keys[top]: part for top, part in resolved.items()}
        if volatile:
            self.is_constant = False
            input_lines = [str(o.input_line) for o in overrides]
            name = override_dirname(input_lines, self.whole.hydra.job.config.override_dirname)
            describe_job(self.whole, input_lines, name, self._chosen, number)
            with hydra_config(self.whole):
                resolved |= self._resolve(volatile, values)
        parts = {top: resolved.get(top) or self._parts[key] for top, key in keys.items()}
        present = {top: part for top, part in parts.items() if not part.is_absent}
        return JobConfig(
            config={top: part.value for top, part in present.items()},
            raw={top: part.raw for top, part in present.items()},
            faults={key: fault for part in present.values() for key, fault in part.faults.items()},
            problems=tuple(problem for part in parts.values() for problem in part.problems),
            choices=tuple(c.line for c in choices),
            values=tuple(str(v.input_line) for v in values),
            chosen=self._chosen,
        )

    def _part_key(self, top: str, lines: Mapping[str, tuple[str, ...]]) -> tuple[Any, ...]:
        """The cache key of a top-level key; it contains None where the value has to be resolved for each job."""
        seen: dict[str, tuple[Any, ...]] = {}
        todo = [top]
        while todo:
            name = todo.pop()
            if name not in seen:
                state = name, self._states.get(name), lines.get(name, ())
                seen[name] = state
                found = self._referenced(state)
                if found is None:
                    return (top, None)
                todo += found
        return tuple(seen.values())

    def _referenced(self, state: tuple[Any, ...]) -> frozenset[str] | None:
        """The top-level keys that interpolations refer to; None where their text does not determine them."""
        if state not in self._references:
            top, _, lines = state
            set_texts = [text for line in lines for text in self._texts[line]]
            self._references[state] = references([*texts(self._raw(top)), *set_texts])
        return self._references[state]

    def _raw(self, top: str) -> Any:
        key = top, self._states.get(top)
        if key not in self._raws:
            self._raws[key] = as_written(self._cfg, top)
        return self._raws[key]

    def _resolve(self, tops: Sequence[str], values: Sequence[Override]) -> dict[str, _Part]:
        content: dict[str, Any] = self._cfg._content  # type: ignore[assignment]
        self._cfg.__dict__["_content"] = dict(content)
        try:
            problems = self._set_values(values, content)
            return {top: self._part(top, problems.get(top, ())) for top in tops}
        finally:
            self._cfg.__dict__["_content"] = content

    def _set_values(self, values: Sequence[Override], content: Mapping[str, Any]) -> dict[str, list[Problem]]:
        problems: dict[str, list[Problem]] = {}
        copied: set[str] = set()
        for value in values:
            top = _top_of(value)
            if top in content and top not in copied:
                copied.add(top)
                self._cfg.__dict__["_content"][top] = self._copy(top, content[top])
            if problem := set_value(value, self._cfg, self._loader):
                problems.setdefault(top, []).append(problem)
        return problems

    def _copy(self, top: str, node: Any) -> Any:
        """A copy of a top-level node, from its pickle, which is faster than ``deepcopy``."""
        key = top, self._states[top]
        if key not in self._pickled:
            node._set_parent(None)
            self._pickled[key] = pickle.dumps(node, pickle.HIGHEST_PROTOCOL)
            node._set_parent(self._cfg)
        copy = pickle.loads(self._pickled[key])
        copy._set_parent(self._cfg)
        return copy

    def _part(self, top: str, problems: Iterable[Problem]) -> _Part:
        if top not in self._cfg:
            return _Part(None, None, {}, tuple(problems), is_absent=True)
        faults: dict[str, str] = {}
        with limited_interpolations(top):
            value = plain(self._cfg, top, top, faults)
        return _Part(value, as_written(self._cfg, top), faults, tuple(problems))
