"""Effective configs: an entry with everything that it includes, and the entries that a change reaches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from when_ml_pipeline_meets_hydra.composing.job import Job
from when_ml_pipeline_meets_hydra.composing.tree import load_yaml, package_of
from when_ml_pipeline_meets_hydra.config_store.combinations import composed_jobs, parts_of, users_of
from when_ml_pipeline_meets_hydra.config_store.entries import leaves
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.masking import MASK, is_secret_name
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

_LEFT_OUT = ("hydra", "c", "help")


@dataclass(frozen=True, kw_only=True)
class EffectiveValue:
    """The value of a key, as it is written, and the entry, file or line that it is from.

    ``is_own`` is True if the entry itself sets it, not one that it includes.
    """

    key: str
    value: Any
    origin: str | None
    is_own: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A key of an effective config before and after a change; a missing key has no value (``has_before`` is False)."""

    key: str
    before: Any
    after: Any
    has_before: bool
    has_after: bool


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a change comes to for the entries that use it: ``differences`` by entry, and ``unreached`` ones."""

    differences: Mapping[str, tuple[Difference, ...]]
    unreached: tuple[str, ...]


def effective_values(path: str, texts: Mapping[str, str], search: Sequence[str]) -> list[EffectiveValue]:
    """The effective value and origin of each key that an entry, or one that it includes, sets. Raises ``BadInput``."""
    jobs, problems = composed_jobs([path], texts, search)
    if problems or path not in jobs:
        raise BadInput(*problems)
    return values_in(jobs[path], path, texts)


def values_in(job: Job, path: str, texts: Mapping[str, str]) -> list[EffectiveValue]:
    """The effective value and origin of each key that an entry, or one that it includes, sets in its composed job."""
    values = flat(job)
    keys = {key: part == path for part in reversed(parts_of(path, texts)) for key in _set_by(part, texts[part], values)}
    return [
        EffectiveValue(key=key, value=values[key], origin=job.origins.of(key), is_own=is_own)
        for key, is_own in sorted(keys.items())
    ]


def _set_by(path: str, text: str, values: Mapping[str, Any]) -> Iterator[str]:
    package = package_of(text) or path.rpartition("/")[0].replace("/", ".")
    content = load_yaml(text)
    below = {k: v for k, v in content.items() if k != "defaults"} if isinstance(content, dict) else {}
    for key, _, _ in leaves(below):
        full = key if package == "_global_" else f"{package}.{key}"
        yield from (found for found in values if found == full or found.startswith((f"{full}.", f"{full}[")))


def flat(job: Job) -> dict[str, Any]:
    """The unresolved values of a composed config by their keys; a secret is masked."""
    content = {key: value for key, value in job.raw.items() if key not in _LEFT_OUT and not key.endswith("_sub")}
    return {key: MASK if is_secret_name(key) and value else value for key, _, value in leaves(content)}


def shown(value: Any) -> str:
    """A value as YAML would have it: ``null``, ``true``, ``[1, 2]``."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def alike(reached: Mapping[str, tuple[Difference, ...]]) -> list[tuple[tuple[Difference, ...], list[str]]]:
    """The differences of effective configs, each with the entries that have the same ones."""
    found: dict[str, tuple[tuple[Difference, ...], list[str]]] = {}
    for path, diffs in reached.items():
        found.setdefault(repr(diffs), (diffs, []))[1].append(path)
    return [*found.values()]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The keys in which two configs differ, with the type of their values: 1 is not true, and not 1.0."""
    keys = sorted(k for k in {*before, *after} if _typed(before, k) != _typed(after, k))
    return tuple(
        Difference(key=k, before=before.get(k), after=after.get(k), has_before=k in before, has_after=k in after)
        for k in keys
    )


def _typed(values: Mapping[str, Any], key: str) -> tuple[bool, str]:
    return key in values, repr(values.get(key))


def reach(
    changed: Collection[str],
    before: tuple[Mapping[str, str], Sequence[str]],
    after: tuple[Mapping[str, str], Sequence[str]],
    composed: Mapping[str, Job] = MappingProxyType({}),
) -> Reach:
    """What a change comes to for each entry that uses a changed one; texts and search path before and after it.

    ``composed`` are jobs of entries after it that are composed already. Raises ``BadInput`` if one cannot be.
    """
    touched = users_of(changed, before[0]) | users_of(changed, after[0])
    old, _ = composed_jobs(touched & set(before[0]), *before)
    new, problems = composed_jobs((touched & set(after[0])) - composed.keys(), *after)
    if problems:
        raise BadInput(*problems)
    new |= {path: job for path, job in composed.items() if path in touched}
    found = {}
    for path in sorted({*old, *new}):
        found[path] = differences(flat(old[path]) if path in old else {}, flat(new[path]) if path in new else {})
    reached = {path: diffs for path, diffs in found.items() if diffs}
    return Reach(differences=reached, unreached=tuple(path for path, diffs in found.items() if not diffs))


def search_path(
    store: str, config_dirs: Sequence[str], *, draft: int | None = None, revision: int | None = None
) -> list[str]:
    """The search path with the entries of a store: the newest ones, those of a revision, or those of a draft."""
    pin = f"@draft-{draft}" if draft is not None else f"@{revision}" if revision is not None else ""
    return [*config_dirs, f"configs://{store}{pin}"]
