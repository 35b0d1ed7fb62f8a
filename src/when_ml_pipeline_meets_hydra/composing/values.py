"""Sets values of a composed config, and reads them resolved or unresolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from when_ml_pipeline_meets_hydra.composing.config_loader import CompositionError, Loader
from when_ml_pipeline_meets_hydra.composing.interpolations import are_too_many
from when_ml_pipeline_meets_hydra.composing.job import NO_SUCH_KEY, UNRESOLVED, VALUE_NEEDED
from when_ml_pipeline_meets_hydra.composing.override_grammar import Override
from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean

MISSING = "???"
OPEN = "_further_keys_"  # in an option file: keys may be added without a +, and what they are for checks them
_CALLBACKS = "hydra.callbacks."
_NO_VARIABLE = re.compile(r".*Environment variable '([^']*)' not found.*")
# Interpolations whose value can be cached: of other keys, and of resolvers that are constant.
_REFERENCE = re.compile(r"\$\{\s*(?:\.*([A-Za-z_]\w*)[\w.\[\]]*\s*\}|(?:oc\.env|oc\.create|oc\.decode|stem)\s*:)")


def set_value(override: Override, cfg: DictConfig, loader: Loader) -> Problem | None:
    """Set one value in ``cfg`` as Hydra does; returns the problem if that is not possible."""
    _open(override.key_or_group, cfg)
    return _unknown_key(override, cfg) or _apply(override, cfg, loader)


def as_written(cfg: DictConfig, top: str) -> Any:
    """The unresolved value of a top-level key, as plain values."""
    node = cfg._get_node(top, validate_access=False)
    if isinstance(node, Container):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    return node._value() if node is not None else None


def texts(node: Any) -> Iterator[str]:
    """The strings in plain values that contain interpolations."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts(value)
            if isinstance(key, str) and "${" in key:
                yield key
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str) and "${" in node:
        yield node


def references(lines: Iterable[str]) -> frozenset[str] | None:
    """The top-level keys in the interpolations of some strings; None where the strings do not determine them."""
    found: set[str] = set()
    for text in lines:
        matches = list(_REFERENCE.finditer(text))
        if len(matches) != text.count("${"):
            return None
        found |= {m[1] for m in matches if m[1]}
    return frozenset(found)


def _apply(override: Override, cfg: DictConfig, loader: Loader) -> Problem | None:
    try:
        loader.apply([override], cfg)
    except (*CompositionError, TypeError, ValueError) as error:  # the latter two from inside OmegaConf
        key = override.key_or_group
        if override.is_add() and "An item is already at" in str(error):
            remedy = f"Leave out the +: {key}=…"
            return Problem(key=key, message="this key is there already, and + adds a new one", remedy=remedy)
        # The outer message may contain the value, which may be a secret.
        return Problem(key=key, message=first_line(list(chain_of(error))[-1]))
    return None


def _unknown_key(override: Override, cfg: DictConfig) -> Problem | None:
    if override.is_add() or override.is_force_add():
        return None
    value = None if override.is_delete() else override.value()
    unknown = (_unknown(key, cfg) for key in _named_keys(override.key_or_group, value, cfg))
    return next(filter(None, unknown), None)


def _open(key: str, cfg: DictConfig) -> None:
    """Let keys be added to the group of a key, if it says so."""
    top = key.partition(".")[0]
    group = cfg._get_node(top) if top in _keys(cfg) else None
    if isinstance(group, DictConfig) and OPEN in _keys(group):
        OmegaConf.set_struct(group, False)


def _named_keys(key: str, value: Any, node: Any) -> Iterator[str]:
    """The keys that an override sets: ``cluster={id: a, pw: b}`` sets two if ``cluster`` exists already."""
    for part in key.split("."):
        node = node._get_node(part) if isinstance(node, DictConfig) and part in _keys(node) else None
    yield from _inner_keys(key, value, node)


def _inner_keys(key: str, value: Any, node: Any) -> Iterator[str]:
    if isinstance(value, dict) and value and isinstance(node, DictConfig) and (_keys(node) or f"{key}." == _CALLBACKS):
        for name, inner in value.items():
            yield from _inner_keys(f"{key}.{name}", inner, node._get_node(name, validate_access=False))
    else:
        yield key


def _unknown(key: str, cfg: DictConfig) -> Problem | None:
    node: Any = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, ListConfig) and part.isdigit() and int(part) < len(node):
            node = node._get_node(int(part))
        elif isinstance(node, DictConfig) and part in _keys(node):
            node = node._get_node(part)
        elif isinstance(node, DictConfig) and OPEN in _keys(node):
            return None
        else:
            place = ".".join(parts[:depth])
            known = [f"{place}.{k}" if place else k for k in (_keys(node) if isinstance(node, Container) else ())]
            wrong = ".".join(parts[: depth + 1])
            return Problem(key=key, message=NO_SUCH_KEY, remedy=_remedy(wrong, known))
    return None


def _remedy(wrong: str, known: list[str]) -> str | None:
    if wrong.startswith(_CALLBACKS):
        return f"Add it: +{wrong}={{_target_: …}}, with a class of a package that packages=[…] allows"
    shown = [k for k in known if k != "hydra" and not k.endswith("._target_") and not k.endswith("_sub")]
    return did_you_mean(wrong, shown)


def _keys(node: Container) -> list[str]:
    if not isinstance(node, DictConfig) or node._is_missing() or node._is_none() or node._is_interpolation():
        return []
    return [str(k) for k in node]


def plain(parent: Container, key: Any, path: str, faults: dict[str, str]) -> Any:
    """Resolve a node to plain values; one that cannot be resolved is added to ``faults`` and becomes ``???``."""
    try:
        value = parent[key] if not OmegaConf.is_missing(parent, key) else MISSING
    except InterpolationToMissingValueError:
        faults[path] = UNRESOLVED
        return MISSING
    except OmegaConfBaseException as error:
        if are_too_many():
            raise
        faults[path] = _NO_VARIABLE.sub(r"the environment variable \1 is not set", first_line(error))
        return MISSING
    if isinstance(value, DictConfig):
        return {str(k): plain(value, k, f"{path}.{k!s}", faults) for k in value}
    if isinstance(value, ListConfig):
        return [plain(value, i, f"{path}[{i}]", faults) for i in range(len(value))]
    if value == MISSING:
        faults[path] = VALUE_NEEDED
    elif isinstance(value, str) and not is_text(value):
        faults[path] = "contains bytes that are not valid UTF-8"
        return MISSING
    return value


def is_text(value: str) -> bool:
    """Whether a string can be encoded: one from bytes that are not valid UTF-8 cannot."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


def first_line(error: BaseException) -> str:
    """The first line of the message of an error, or of its causes if that is empty."""
    lines = (line for e in chain_of(error) for line in str(e).strip().splitlines())
    return next((line for line in lines if line.strip()), type(error).__name__)
