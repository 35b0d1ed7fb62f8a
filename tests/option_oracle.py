"""What an option's types say, read from their annotations alone: an oracle for what is accepted, and values to try."""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
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
    # Whether there is such a file, types do not say.
    "as_local_path": ((), ("", "s3://bucket/rows.csv", "file:/rows.csv", "~no-such-user-here/x")),
}
# What the validators of whole classes say: the class's name → whether its values, as a config has them, may be.
RULES: Mapping[str, Callable[[Mapping[str, Any]], bool | None]] = {
    "TrainingParam": lambda v: v.get("max_depth", 3) + v.get("n_estimators", 80) >= 4,
    "MetricBound": lambda v: (
        (v.get("min"), v.get("max")) != (None, None)
        and (v.get("min") is None or v.get("max") is None or v["min"] <= v["max"])
    ),
    "ByCost": lambda v: v.get("false_positive", 1) > 0 or v.get("false_negative", 1) > 0,
    "Fcn": lambda v: not v.get("input_norm") or v.get("norm", "LN") is not None,
    "ColouredDigits": lambda v: (
        (v.get("colors") is None or len(set(v["colors"])) == v.get("num_colors", 10))
        and (v.get("label_map") is None or len(set(v["label_map"].values())) > 1)
    ),
    "Cnn": lambda v: None if v.get("pool_stride", 2) > 2 or len(v.get("channels", ())) > 2 else True,  # small images
    "ListedColumn": lambda v: _column(v),
    "Column": lambda v: _column(v),
    "Schema": lambda v: len({c["name"] for c in [*v["features"], v["target"]]}) == len(v["features"]) + 1,
    "PredefinedSplit": lambda v: (v.get("column") is None) != (v.get("path") is None),
    "DatabaseTable": lambda v: v.get("table") is not None or v.get("query") is not None,
}


# Classes that take any further keys, and gather them in this field.
OPEN: Mapping[str, str] = {"EstimatorParam": "own"}
# What the validators of single fields say: the field's name → values that are right and values that are not.
BY_FIELD: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "format": (("%d/%m/%Y", "%Y-%m-%d %H:%M"), ("%Q", "%d", "%Y-%m-%d %", "x", "5", "1.5", "true")),
    "pattern": (("[a-z]+", "x", "5", r"\d{2}"), ("(", "[", "*", "a{2,1}")),
}


def _column(v: Mapping[str, Any]) -> bool | None:
    """The rules of a column: its ends, its format, its pattern."""
    low, high = v.get("min"), v.get("max")
    if low is not None and high is not None and (isinstance(low, str) != isinstance(high, str) or low > high):
        return False
    if v.get("format") is not None and v.get("dtype") not in (None, "date", "datetime"):
        return False
    return _all(
        True if v[name] in right else False if v[name] in wrong else None
        for name, (right, wrong) in BY_FIELD.items()
        if v.get(name) is not None
    )


class Written(NamedTuple):
    """A value of a config, and the text that stands for it where a text is wanted.

    The text of an environment variable may stand for a number or a truth value.
    """

    value: Any
    text: str
    is_variable: bool = False


_VARIABLE = re.compile(r"\$\{oc\.env:[^{}]*\}")
_WORD = re.compile(r"[^\[\]{}()'\"\\$,]+")


def as_written(config: Mapping[str, Any], raw: Mapping[str, Any], overrides: Iterable[str]) -> Mapping[str, Any]:
    """A config in which numbers know the words that overrides have for them, and texts that they are variables."""
    words: dict[str, str] = {}
    for line in overrides:
        key, _, word = line.partition("=")
        words = {k: w for k, w in words.items() if not f"{k}.".startswith(f"{key.lstrip('+~')}.")}
        words[key.lstrip("+~")] = word.strip()
    words |= {key: words[name] for key, name in _references(raw) if key not in words and name in words}
    found: Mapping[str, Any] = _as_written(config, raw, words, "")
    return found


def _references(raw: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The keys that take the values of other keys, each with the other."""
    for name, inner in raw.items() if isinstance(raw, Mapping) else ():
        yield from _references(inner, f"{key}.{name}" if key else name)
    if isinstance(raw, str) and (found := re.fullmatch(r"\$\{([\w.]+)\}", raw)):
        yield key, found[1]


def made_of(raw: Mapping[str, Any], key: str) -> list[str]:
    """A key, and the keys that take its value, at once or by way of others."""
    references, found = list(_references(raw)), [key]
    for known in found:
        found += [name for name, other in references if other == known and name not in found]
    return found


def _as_written(value: Any, raw: Any, words: Mapping[str, str], key: str) -> Any:
    if isinstance(value, Mapping):
        below = raw if isinstance(raw, Mapping) else {}
        return {n: _as_written(v, below.get(n), words, f"{key}.{n}" if key else n) for n, v in value.items()}
    if isinstance(value, str):
        return Written(value, value, True) if isinstance(raw, str) and _VARIABLE.fullmatch(raw) else value
    if isinstance(value, bool | int | float) and _WORD.fullmatch(words.get(key, "")):
        return Written(value, words[key])
    return value


def as_read(hint: Any, value: Any) -> Any:
    """A value as what is wanted: a number as the text that it was written as, a variable's text as a number."""
    written = value if isinstance(value, Written) else None
    value = written.value if written else value
    kinds = [unwrapped(k)[0] for k in _alternatives(unwrapped(hint)[0])]
    if isinstance(value, bool | int | float) and {str, Path, SecretStr} & set(kinds):
        if any(_is_of(k, value) for k in kinds):
            return value
        return written.text if written else str(value).lower() if isinstance(value, bool) else str(value)
    if written and written.is_variable and not {str, Path, SecretStr} & set(kinds):
        return next((v for k in kinds for v in _of_variable(k, written.text)), value)
    return value


def _of_variable(kind: Any, text: str) -> Iterator[Any]:
    """The value that the text of a variable stands for."""
    if kind is bool:
        yield from (is_true for is_true, words in _TRUTH.items() if text.strip().lower() in words)
    for number in (n for n in (int, float) if kind in (n, float)):
        with suppress(ValueError):
            yield number(text)


_TRUTH = {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if _is_union(kind) else (kind,)


class Place(NamedTuple):
    """A config key, the annotation of what stands there, and what a call receives of it."""

    key: str
    hint: Any
    value: Any


def places(call: Call) -> dict[str, Place]:
    """Every config key that a call and those that it needs read."""
    before = [*(needed for needed in call.needs.values() if not needed.element), *call.preceding]
    upstream = {key: place for needed in before for key, place in places(needed).items()}
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
        if name == OPEN.get(kind.__name__):
            continue
        if any(isinstance(m, Chosen) for m in marks):
            below = [Place(name, type(inner), inner)]
        elif any(isinstance(m, Several) for m in marks):
            below = [Place(f"{place.key}.{name}.{member}", type(part) | None, part) for member, part in inner.items()]
        else:
            below = [Place(f"{place.key}.{name}", hint, inner)]
        for found in below:
            yield found
            yield from _inside(found)


def is_same(received: Any, given: Any, hint: Any = Any) -> bool:
    """Whether a call receives what a config says; ``hint`` is the annotation of what it receives."""
    if dataclasses.is_dataclass(received):
        cls: Any = type(received)
        hints = field_hints(cls)
        named = {n: v for n, v in given.items() if n != "_target_" and v is not None}
        if cls.__name__ in OPEN:
            named = {n: v for n, v in named.items() if n in hints and n != OPEN[cls.__name__]}
        return all(is_same(getattr(received, n), v, hints[n]) for n, v in named.items())
    if isinstance(received, tuple | list):
        return len(received) == len(given) and all(
            is_same(r, g, _inner(hint)) for r, g in zip(received, given, strict=True)
        )
    if isinstance(received, Mapping):
        # Typed places leave out what is null; what nothing is known about arrives with its nulls.
        there = {k: v for k, v in given.items() if v is not None or k in received}
        return len(received) == len(there) and all(is_same(v, there[str(k)], _inner(hint)) for k, v in received.items())
    given = as_read(hint, given)
    if isinstance(received, SecretStr):
        return bool(received.get_secret_value() == given)
    if isinstance(received, Path):
        return received == Path(given).expanduser()
    if isinstance(received, Enum):
        return bool(received.value == given)
    if isinstance(received, str):
        received = received.removesuffix(" (dry run: nothing is applied)")  # a cluster says so in its name
    return type(received) in (type(given), float) and (received == given or received != received)


def _inner(hint: Any) -> Any:
    """The annotation of what a list or a mapping holds."""
    inner = [get_args(k) for k in (unwrapped(k)[0] for k in _alternatives(unwrapped(hint)[0])) if get_args(k)]
    return next((args[0] if len(args) == 1 or args[1] is ... else args[1] for args in inner), Any)


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
    value = as_read(kind, value)
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
    if kind.__name__ in OPEN:
        hints = {name: hint for name, hint in hints.items() if name != OPEN[kind.__name__]}
        given = {name: v for name, v in given.items() if name in hints}
    if given.keys() - hints.keys():
        return False
    needed = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name in hints
        and not any(isinstance(m, Chosen | Several) for m in unwrapped(hints[f.name])[1])
    }
    if needed - given.keys():
        return False
    answer = _all(fits(hints[name], v) for name, v in given.items())
    given = {name: as_read(hints[name], v) for name, v in given.items()}
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
    alternatives = [k for k in _alternatives(kind) if k is not type(None)]
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
    kinds = _alternatives(kind)
    of_type = [s for k, s in ((int, st.integers()), (float, st.floats()), (str, _TEXTS), (Path, _TEXTS)) if k in kinds]
    return st.one_of(_ANYTHING, *of_type)
