"""Parses overrides in Hydra's grammar, and expands sweeps into jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice, product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, RangeSweep, Sweep, ValueType
from hydra.errors import HydraException

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

__all__ = ["Override"]

SEARCH_PATH = "hydra.searchpath"


_MOST_OPTIONS = 10_000
_ONE_MARK = re.compile(r"([^=]+=)([^\w\s\[\](){}'\"\\~$?=])")
_TILDE = re.compile(r"(?<=[=,\[(])~(?=[/,\])]|$)[^,\[\](){}'\"]*")


@lru_cache(maxsize=4096)
def parse(line: str) -> Override:
    """Parse one override. Raises ``HydraException`` if it does not follow the grammar."""
    return parse_with(OverridesParser.create(), line)


def parse_with(parser: OverridesParser, line: str) -> Override:
    """Parse one override, in which paths may start with ``~``, and a value may be a single mark such as ``,`` or ``;``.

    Hydra's grammar wants both in quotes.
    """
    quoted = _TILDE.sub(lambda path: f"'{path[0]}'", line) if "~" in line else line
    if mark := _ONE_MARK.fullmatch(line):
        quoted = f"{mark[1]}'{mark[2]}'"
    override = parser.parse_overrides([quoted])[0]
    return override if quoted == line else replace(override, input_line=line)


def plain_value(line: str) -> Any:
    """Return the value of an override in plain types, with no quotes around texts. Raises ``BadInput``."""
    try:
        return _without_quotes(parse(line).value())
    except HydraException:
        key, _, value = line.partition("=")
        raise BadInput(Problem(key=key, value=value, message="is no value in Hydra's grammar")) from None


def _without_quotes(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_quotes(item) for item in value]
    if isinstance(value, dict):
        return {str(_without_quotes(key)): _without_quotes(item) for key, item in value.items()}
    return value.text if isinstance(value, QuotedString) else value


def names(override: Override) -> Iterator[str]:
    """The option or folder names in an override, for all values of a sweep."""
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    for value in values:
        for name in value if isinstance(value, list) else [value]:
            yield name.text if isinstance(name, QuotedString) else str(name)


def search_path(overrides: Iterable[str]) -> list[str] | None:
    """The entries of ``hydra.searchpath=[…]``, which are needed before groups can be listed; None without one."""
    try:
        parsed = [parse(line) for line in overrides if line.lstrip("+").startswith(f"{SEARCH_PATH}=")]
    except HydraException:
        return None  # reported with the other overrides
    if not parsed:
        return None
    return [entry for override in parsed if names_folders(override) for entry in names(override)]


def names_folders(override: Override) -> bool:
    """Whether the value of an override is a string or a list of strings."""
    value: Any = override.value()
    return all(isinstance(v, str | QuotedString) and str(v) for v in (value if isinstance(value, list) else [value]))


def naming_options(override: Override) -> Override:
    """The override of a group, in which numbers and truth values are the names of options, as they were written."""
    value: Any = override._value
    if isinstance(value, bool | int | float):
        return replace(override, _value=str(override.input_line).partition("=")[2].strip())
    if isinstance(value, RangeSweep):
        try:
            names: list[Any] = [str(v) for v in islice(value.range(), _MOST_OPTIONS + 1)]
        except (HydraException, ArithmeticError):
            return override  # reported with the sweeps that cannot be expanded, as is a range without an end
        if len(names) > _MOST_OPTIONS:
            return override
        numbers = ChoiceSweep(list=names, tags=value.tags, shuffle=value.shuffle)
        return replace(override, _value=numbers, value_type=ValueType.CHOICE_SWEEP)
    if isinstance(value, ChoiceSweep):
        texts = _as_written(override, value.list)
        names = [t if isinstance(v, bool | int | float) else v for v, t in zip(value.list, texts, strict=True)]
        return replace(override, _value=replace(value, list=names))
    return override


def elements(override: Override) -> list[Override]:
    """One override for each value of a sweep, with its text as it was written; any other override as it is."""
    if not override.is_sweep_override():
        return [override]
    key, make = override.get_key_element(), partial(replace, override, value_type=ValueType.ELEMENT)
    values: Any = list(override.sweep_iterator())
    texts = _as_written(override, values)
    return [make(_value=v, input_line=f"{key}={text}") for v, text in zip(values, texts, strict=True)]


def _as_written(override: Override, values: Sequence[Any]) -> list[str]:
    """The texts of the values of a sweep: ``1e2``, not ``100.0``, in whatever order they are."""
    texts = list(map(Override._get_value_element_as_str, values))
    if not isinstance(override.value(), ChoiceSweep):
        return texts
    written = _listed(str(override.input_line).partition("=")[2])
    if len(written) == len(texts) and all(map(_is_text_of, written, values, texts)):
        return written
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):  # sorted, shuffled, or cast
        exact = text if text in written else None
        if found := exact or next((piece for piece in written if _is_text_of(piece, value, text)), None):
            written.remove(found)
            texts[place] = found
    return texts


def _is_text_of(piece: str, value: Any, text: str) -> bool:
    """Whether a piece of an override is the text of a value, which Hydra would write as ``text``."""
    if piece == text:
        return True
    try:
        if isinstance(value, bool):
            return piece.lower() == text.lower()
        if isinstance(value, int | float):
            return str(type(value)(piece)) == text
        parsed: Any = parse(f"key={piece}")._value
    except (ValueError, HydraException):
        return False
    if isinstance(parsed, QuotedString) and isinstance(value, str):  # choice(…) takes the quotes off
        return parsed.text == value
    return type(parsed) is type(value) and parsed == value


_CALL = re.compile(r"\s*(?:choice|shuffle|sort|tag)\s*\((.*)\)\s*", re.DOTALL)
_NAMED = re.compile(r"[a-z]+\s*=")
_PARTS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\\.|.""", re.DOTALL)


def _listed(text: str) -> list[str]:
    """The pieces of a list of values, also inside of ``choice(…)``, ``tag(…)``, ``sort(…)`` or ``shuffle(…)``."""
    while call := _CALL.fullmatch(text):
        pieces = [piece for piece in _pieces(call[1]) if not _NAMED.match(piece)]
        if not (pieces and _CALL.fullmatch(pieces[-1])):
            return pieces
        text = pieces[-1]
    return _pieces(text)


def _pieces(text: str) -> list[str]:
    """Split a text at the commas that are neither in quotes nor in brackets."""
    pieces, depth = [""], 0
    for part in _PARTS.findall(text):
        depth += (part in "([{") - (part in ")]}")
        if part == "," and not depth:
            pieces.append("")
        else:
            pieces[-1] += part
    return [piece.strip() for piece in pieces]


def size(override: Override, most: int) -> int:
    """The number of values of a sweep, at most ``most + 1``. Raises ``ValueError`` for an invalid range."""
    value = override.value()
    try:
        values = value.range() if isinstance(value, RangeSweep) else override.sweep_iterator()
        return sum(1 for _ in islice(values, most + 1))
    except (HydraException, ArithmeticError) as error:  # a step of 0.0, NaN
        raise ValueError(str(error)) from error


def is_shuffled(override: Override) -> bool:
    """Whether the values of an override are in a random order."""
    return re.search(r"\bshuffle\s*\(", str(override.input_line)) is not None


def has_nested_sweep(override: Override) -> bool:
    """Whether a sweep is inside a value or another sweep, where it has no meaning."""
    value: Any = override.value()
    if isinstance(value, ChoiceSweep):
        return _contains_sweep(value.list)
    return not isinstance(value, Sweep | Glob) and _contains_sweep(value)


def _contains_sweep(node: Any) -> bool:
    inside = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else ()
    return isinstance(node, Sweep | Glob) or any(map(_contains_sweep, inside))


def is_glob(override: Override) -> bool:
    """Whether an override is a ``glob(…)`` over the options of a group."""
    return isinstance(override.value(), Glob)


def tag_of(override: Override) -> str | None:
    """The tag of a sweep, ``tag(a, choice(1, 2))``; sweeps with the same tag advance together."""
    tags = getattr(override.value(), "tags", None) if override.is_sweep_override() else None
    return ",".join(sorted(tags)) if tags else None


def expand(overrides: Sequence[Override]) -> Iterator[tuple[Override, ...]]:
    """The overrides of each job of a sweep: the product of all values in Hydra's order (the last varies fastest).

    Sweeps with the same tag are one dimension, in the position of the first of them; they have the same length.
    """
    overrides = list({o.get_key_element(): o for o in overrides}.values())  # of equal keys the last one counts
    dimensions: dict[str, list[int]] = {}
    for place, override in enumerate(overrides):
        dimensions.setdefault(tag_of(override) or f"\0{place}", []).append(place)
    steps = [list(zip(*(elements(overrides[p]) for p in places), strict=True)) for places in dimensions.values()]
    order = [place for places in dimensions.values() for place in places]
    back = sorted(range(len(order)), key=order.__getitem__)
    for chosen in product(*steps):
        flat = [override for values in chosen for override in values]
        yield tuple(flat[i] for i in back)
