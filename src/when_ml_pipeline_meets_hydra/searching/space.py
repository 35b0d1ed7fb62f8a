"""The space of a search: what is drawn, and under which conditions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Value = str | int | float
Values = Mapping[str, Value]  # key → drawn value; of a list, the text of the override


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key, or one group, of which a search draws the value.

    ``key`` is as in overrides, with its sign. Of a list ``values`` are the texts; otherwise ``low`` and ``high`` are
    the limits, both included, and ``step`` is that of a range; with ``is_log`` the scale is logarithmic.
    """

    key: str
    is_group: bool = False
    values: tuple[str, ...] = ()
    low: int | float = 0
    high: int | float = 0
    step: int | float | None = None
    is_log: bool = False

    @property
    def name(self) -> str:
        """The key without the sign."""
        return self.key.lstrip("+~")

    @property
    def is_whole(self) -> bool:
        """Whether whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step or 1, int)

    @property
    def count(self) -> int | None:
        """The number of values; None of an interval of real numbers."""
        if self.values:
            return len(self.values)
        if self.step is None and not self.is_whole:
            return None
        return round((self.high - self.low) / (self.step or 1)) + 1

    def number(self, place: int) -> int | float:
        """Return the value in a place of a range, from 0."""
        value = self.low + place * (self.step or 1)
        return value if self.is_whole else min(float(f"{value:.12g}"), self.high)

    @property
    def is_counted(self) -> bool:
        """Whether it has steps, or one value alone, so that samplers draw the place of a value."""
        return not self.values and (self.step is not None or self.low == self.high)

    @property
    def first(self) -> Value:
        """The first value of a list, otherwise the lowest number."""
        return self.values[0] if self.values else self.low

    def place(self, value: Value) -> Value:
        """Return what a sampler draws for a value: its place from 0 if it is counted, otherwise the value."""
        return round((float(value) - self.low) / (self.step or 1)) if self.is_counted else value

    def value(self, drawn: Any) -> Value:
        """Return the value for what a sampler has drawn; see ``place``."""
        if self.values:
            return str(drawn)
        if self.is_counted:
            return self.number(int(drawn))
        return int(drawn) if self.is_whole else float(drawn)

    def line(self, value: Value) -> str:
        """Return the override with a value: ``m_param.learning_rate=0.1``."""
        return f"{self.key}={value}"

    @property
    def content(self) -> dict[str, Any]:
        """The dimension as JSON values, without defaults."""
        return {name: value for name, value in vars(self).items() if value != getattr(type(self), name, None)}


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is drawn: first the options of ``groups``, then those of ``numbers`` that these options have.

    ``active(options)`` returns the names of the keys that exist with the drawn options (group → option).
    """

    groups: tuple[Dimension, ...]
    others: tuple[Dimension, ...]
    active: Callable[[Mapping[str, Value]], Collection[str]]

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All dimensions, groups first."""
        return (*self.groups, *self.others)

    def drawn_with(self, options: Mapping[str, Value]) -> list[Dimension]:
        """Return the dimensions, besides groups, that are drawn with these options."""
        keys = self.active(options)
        return [d for d in self.others if d.name in keys]

    def lines(self, values: Values) -> tuple[str, ...]:
        """Return the overrides of a point; values of keys that its options do not have are left out."""
        options = {d.key: values[d.key] for d in self.groups}
        chosen: Sequence[Dimension] = [*self.groups, *self.drawn_with(options)]
        return tuple(d.line(values[d.key]) for d in chosen)

    def known(self, values: Values) -> dict[str, Value]:
        """Return the values that have an effect: without those of keys that the options do not have."""
        options = {d.key: values[d.key] for d in self.groups}
        return {d.key: values[d.key] for d in (*self.groups, *self.drawn_with(options))}
