"""Classes that are made quickly behave as those of the standard module do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import pytest
from pydantic import TypeAdapter

from when_ml_pipeline_meets_hydra.startup import dataclasses as quick


@quick.dataclass(frozen=True, kw_only=True)
class Quick:
    """A class."""

    kind: ClassVar[str] = "quick"

    a: int
    b: str = "x"
    c: list[int] = quick.field(default_factory=list, compare=False)
    d: int = quick.field(default=4, repr=False)

    @cached_property
    def twice(self) -> int:
        """Twice ``a``."""
        return 2 * self.a


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standard:
    """A class."""

    kind: ClassVar[str] = "quick"

    a: int
    b: str = "x"
    c: list[int] = dataclasses.field(default_factory=list, compare=False)
    d: int = dataclasses.field(default=4, repr=False)

    @cached_property
    def twice(self) -> int:
        """Twice ``a``."""
        return 2 * self.a


@quick.dataclass(frozen=True)
class Place:
    """A class whose field may be given by position."""

    name: str


DO: dict[str, Callable[[Any], Any]] = {
    "repr": lambda kind: repr(kind(a=1)).replace(kind.__name__, ""),
    "equal": lambda kind: kind(a=1) == kind(a=1, c=[5]),
    "other": lambda kind: [kind(a=1) == kind(a=1, d=5), kind(a=1) == (1, "x", [], 4), kind(a=1) != kind(a=1)],
    "hash": lambda kind: hash(kind(a=1)) == hash(kind(a=1, c=[5])) != hash(kind(a=2)),
    "fields": lambda kind: [(f.name, f.compare, f.repr, f.kw_only, f.type) for f in dataclasses.fields(kind)],
    "values": lambda kind: list(vars(kind(d=1, a=1)).items()),
    "replace": lambda kind: vars(dataclasses.replace(kind(a=1, c=[2]), b="y")),
    "as dict": lambda kind: dataclasses.asdict(kind(a=1)),
    "copy": lambda kind: copy.deepcopy(kind(a=1, c=[2])) == copy.copy(kind(a=1)),
    "pickle": lambda kind: vars(pickle.loads(pickle.dumps(kind(a=1)))),
    "class": lambda kind: [kind.kind, kind.b, kind.d, hasattr(kind, "c"), dataclasses.is_dataclass(kind)],
    "signature": lambda kind: str(inspect.signature(kind)).split(" = ")[:2],
    "pydantic": lambda kind: vars(TypeAdapter(kind).validate_python({"a": "3"})),
    "own": lambda kind: kind(a=1).c is not kind(a=1).c,
    "cached": lambda kind: kind(a=3).twice,
}


@pytest.mark.parametrize("what", DO)
def test_a_quick_class_is_as_a_standard_one(what: str) -> None:
    assert DO[what](Quick) == DO[what](Standard)


@pytest.mark.parametrize("kind", [Quick, Standard])
def test_what_is_wrong_is_refused(kind: Any) -> None:
    made = kind(a=1)
    calls: list[tuple[tuple[int, ...], dict[str, int]]] = [((), {}), ((), {"a": 1, "z": 2}), ((1,), {})]
    for positional, named in calls:
        with pytest.raises(TypeError):
            kind(*positional, **named)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.a


def test_a_field_may_be_given_by_position() -> None:
    assert Place("x") == Place(name="x")
