"""What an option's types say, read from their annotations alone: an oracle for what is accepted, and values to try."""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types as at
from hypothesis import strategies as st
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.binding.keys import field_hints
from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.contracts import Chosen, Several

# What functions accept that annotations only name: by their names, values that are right and values that are not.
BY_FUNCTION: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "server_url": (
        ("http://127.0.0.1:8080", "https://models.example.org", "http://[::1]:1/sub"),
        (
            "",
            "x",
            "ftp://a.example",
            "http://",
            "http://a:b@c.example",
            "http://a.example:99999",
            "http://a.example/?q=1",
        ),
    ),
    "user_id": (("me", "a b"), ("", "a:b")),
    "given_password": (("secret-of-mine", "12 34"), ("",)),
    "inside": (("model.onnx", "a/b.json"), ("", "/etc/passwd", "../x", "a/../../x")),
    "model_name": (("cars", "A-1_b.c", "9"), ("", "a b", "é", ".a", "a/b", "a" * 101)),
    "named": ((), ("",)),  # whether there is such a file, types do not say
}
# What the validators of whole classes say: the class's name → whether its values, as a config has them, may be.
RULES: Mapping[str, Callable[[Mapping[str, Any]], bool | None]] = {
    "TrainingParam": lambda v: v.get("max_depth", 3) + v.get("n_estimators", 80) >= 4,
    "MetricBound": lambda v: (
        (v.get("min"), v.get("max")) != (None, None)
        and (v.get("min") is None or v.get("max") is None or v["min"] <= v["max"])
    ),
    "Fcn": lambda v: not v.get("input_norm") or v.get("norm", "LN") is not None,
    "ColouredDigits": lambda v: (
        (v.get("colors") is None or len(set(v["colors"])) == v.get("num_colors", 10))
        and (v.get("label_map") is None or len(set(v["label_map"].values())) > 1)
    ),
    "Cnn": lambda v: None if v.get("pool_stride", 2) > 2 or len(v.get("channels", ())) > 2 else True,  # small images
    "Schema": lambda v: len({c["name"] for c in [*v["features"], v["target"]]}) == len(v["features"]) + 1,
    "DatabaseTable": lambda v: v.get("table") is not None or v.get("query") is not None,
}


class Place(NamedTuple):
    """A config key, the annotation of what stands there, and what a call receives of it."""

    key: str
    hint: Any
    value: Any


def places(call: Call) -> dict[str, Place]:
    """Every config key that a call and those that it needs read."""
    upstream = {key: place for needed in call.needs.values() for key, place in places(needed).items()}
    hints = signature_of(call.function).parameters
    tops = [Place(n, type(v) if dataclasses.is_dataclass(v) else hints[n], v) for n, v in call.arguments.items()]
    target = f"{call.function.__module__}.{call.function.__qualname__}"
    tops.append(Place(f"{call.stage}_sub._target_", Literal[target], target))
    return {**upstream, **{p.key: p for top in tops for p in (top, *_inside(top))}}


def _inside(place: Place) -> Iterator[Place]:
    value: Any = place.value
    kind: Any = type(value)
    for name, hint in field_hints(kind).items() if dataclasses.is_dataclass(value) else ():
        inner, (_, marks) = getattr(value, name), unwrapped(hint)
        if any(isinstance(m, Chosen) for m in marks):
            below = [Place(name, type(inner), inner)]
        elif any(isinstance(m, Several) for m in marks):
            below = [Place(f"{place.key}.{name}.{member}", type(part) | None, part) for member, part in inner.items()]
        else:
            below = [Place(f"{place.key}.{name}", hint, inner)]
        for found in below:
            yield found
            yield from _inside(found)


def is_same(received: Any, given: Any) -> bool:
    """Whether a call receives what the plain value of a config says."""
    if isinstance(received, SecretStr):
        return bool(received.get_secret_value() == given)
    if isinstance(received, Path):
        return received == Path(given)
    if isinstance(received, Enum):
        return bool(received.value == given)
    if isinstance(received, tuple | list):
        return len(received) == len(given) and all(map(is_same, received, given))
    if isinstance(received, Mapping):
        there = {k: v for k, v in given.items() if v is not None}
        return len(received) == len(there) and all(is_same(v, there[str(k)]) for k, v in received.items())
    if dataclasses.is_dataclass(received):
        return all(is_same(getattr(received, n), v) for n, v in given.items() if n != "_target_" and v is not None)
    if isinstance(received, str):
        received = received.removesuffix(" (dry run: nothing is applied)")  # a cluster says so in its name
    return type(received) in (type(given), float) and (received == given or received != received)


def unwrapped(hint: Any) -> tuple[Any, list[Any]]:
    """An annotation without its metadata, and these; what pydantic's ``Field`` holds one by one."""
    marks: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        marks += [m for found in more for m in (found.metadata if isinstance(found, FieldInfo) else [found])]
    return hint, marks


def fits(hint: Any, value: Any) -> bool | None:
    """Whether a plain value of a config is one of an annotation; None where only a function could tell."""
    kind, marks = unwrapped(hint)
    if any(isinstance(m, Chosen) for m in marks):
        return value is None
    if any(isinstance(m, Several) for m in marks):
        return value is None or isinstance(value, dict)
    answers = [_is_of(kind, value), *(_meets(m, value) for m in marks if value is not None)]
    return _all(answers)


def _all(answers: Iterable[bool | None]) -> bool | None:
    found = list(answers)
    return False if False in found else None if None in found else True


def _is_of(kind: Any, value: Any) -> bool | None:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or not (inner or isinstance(kind, type)):
        return True
    if origin in (Union, types.UnionType):
        answers = [fits(k, value) for k in inner]
        return True if True in answers else None if None in answers else False
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (tuple, list):
        return isinstance(value, list) and _all(fits(inner[0], v) for v in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and _all(fits(inner[1], v) for v in value.values()) and _keys(inner[0], value)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict) and of_class(kind, value)
    if issubclass(kind, Enum):
        return isinstance(value, str) and value in [m.value for m in kind]
    if kind in (str, SecretStr, Path):
        return isinstance(value, str) and _is_text(value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if kind is type(None) else isinstance(value, kind)


def _keys(hint: Any, value: Mapping[str, Any]) -> bool | None:
    names = [int(k) if re.fullmatch(r"\d+", k) and unwrapped(hint)[0] is int else k for k in value]
    return _all(fits(hint, name) for name in names)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def samples(mark: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The values that are known to be right, and to be wrong, for a function in an annotation."""
    name = getattr(mark.func, "__name__", "").lstrip("_")
    assert name in BY_FUNCTION, f"BY_FUNCTION needs values for {name}"
    return BY_FUNCTION[name]


def _meets(mark: Any, value: Any) -> bool | None:
    try:
        if isinstance(mark, at.Ge):
            return bool(value >= mark.ge)
        if isinstance(mark, at.Gt):
            return bool(value > mark.gt)
        if isinstance(mark, at.Le):
            return bool(value <= mark.le)
        if isinstance(mark, at.Lt):
            return bool(value < mark.lt)
        if isinstance(mark, at.MinLen):
            return len(value) >= mark.min_length
        if isinstance(mark, at.MaxLen):
            return len(value) <= mark.max_length
        if pattern := getattr(mark, "pattern", None):
            return re.search(pattern, value) is not None
    except TypeError:
        return False
    if isinstance(mark, AfterValidator | BeforeValidator):
        right, wrong = samples(mark)
        return True if value in right else False if value in wrong else None
    return True


def of_class(kind: Any, value: Mapping[str, Any]) -> bool | None:
    """Whether the plain values of an option are those of its class, all rules among them included."""
    if value.get("_target_", target := f"{kind.__module__}.{kind.__qualname__}") != target:
        return False
    given = {k: v for k, v in value.items() if k != "_target_"}
    hints = field_hints(kind)
    if given.keys() - hints.keys():
        return False
    needed = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and not any(isinstance(m, Chosen | Several) for m in unwrapped(hints[f.name])[1])
    }
    if needed - given.keys():
        return False
    answer = _all(fits(hints[name], v) for name, v in given.items())
    return answer if answer is False or kind.__name__ not in RULES else _all([answer, RULES[kind.__name__](given)])


def is_limited(hint: Any) -> bool:
    """Whether a number has a least and a greatest value; what is no number has."""
    kind, marks = unwrapped(hint)
    numbers = {int, float} & {kind, *get_args(kind)} if not get_origin(kind) or _is_union(kind) else ()
    ends = [[getattr(m, n, None) for m in marks for n in names] for names in (("ge", "gt"), ("le", "lt"))]
    return not numbers or all(any(b is not None for b in bounds) for bounds in ends)


# Values of every kind, none of which is right at many places.
STRANGE: tuple[Any, ...] = (
    *(None, True, 5, 10**400, 1.5, math.nan, math.inf, "", "x", "5", "\udcff"),
    *([], ["x"], [1, 1], {}, {"x": 1}),
)
STRANGER: tuple[Any, ...] = (
    *(False, 0, 1, -1, 2**31, 2**63, -0.0, 1e308, -math.inf),
    *("1.5", "true", "null", "nan", "None", " ", "é", "\N{ROCKET}", 'it\'s "so"', "a\\", "a,b", "{x", "x]"),
    *([None], ["x", "x"], [1], [1.5], [[1]], [{}], {"name": 1}, {"1": 1}, {"x": {"y": []}}),
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values right and wrong for an annotation."""
    return st.one_of(st.sampled_from(edges(hint)), st.sampled_from([*STRANGE, *STRANGER]), _random(hint))


def edges(hint: Any) -> list[Any]:
    """The values at which what is accepted begins and ends."""
    kind, marks = unwrapped(hint)
    alternatives = [k for k in get_args(kind) if k is not type(None)] if _is_union(kind) else [kind]
    found: list[Any] = [v for k in alternatives if _is_union(kind) for v in edges(k)]
    for mark in marks:
        for bound in (getattr(mark, name, None) for name in ("ge", "gt", "le", "lt")):
            if bound is not None:
                found += [bound - 1, bound, bound + 1] if int in alternatives else _around(float(bound))
        if isinstance(mark, at.MinLen | at.MaxLen):
            found += ["x" * n for n in (0, 1, 2)] if str in alternatives else [[1] * n for n in (0, 1, 2)]
        if isinstance(mark, AfterValidator | BeforeValidator):
            found += [v for texts in samples(mark) for v in texts]
    for k in alternatives:
        if isinstance(k, type) and issubclass(k, Enum):
            found += [v for m in k for v in (m.value, m.name, m.value.upper(), f"{m.value} ")]
        elif get_origin(k) is Literal:
            found += [v for name in get_args(k) for v in (name, name.upper(), f" {name}")]
    return found or ["x"]


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _around(bound: float) -> list[float]:
    near = [math.nextafter(bound, -math.inf), bound, math.nextafter(bound, math.inf), bound - 0.25, bound + 0.25]
    return [*near, *([int(bound)] if bound.is_integer() else [])]


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$\0"), max_size=8)
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS)
_NAMES = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
_ANYTHING = st.recursive(
    _SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(_NAMES, v, max_size=3), max_leaves=4
)


def _random(hint: Any) -> st.SearchStrategy[Any]:
    kind, _ = unwrapped(hint)
    kinds = get_args(kind) if _is_union(kind) else (kind,)
    of_type = [s for k, s in ((int, st.integers()), (float, st.floats()), (str, _TEXTS), (Path, _TEXTS)) if k in kinds]
    return st.one_of(_ANYTHING, *of_type)
