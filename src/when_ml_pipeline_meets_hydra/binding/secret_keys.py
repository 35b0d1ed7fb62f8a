"""Find the secret keys of the jobs' configs by the types that read them, so that their values can be masked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from when_ml_pipeline_meets_hydra.binding.derived_keys import derived_keys
from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.binding.targets import STAGES, allowed_packages, locate_class, locate_function
from when_ml_pipeline_meets_hydra.binding.validation import secret_keys
from when_ml_pipeline_meets_hydra.composing.job import OPS, Composed, Job
from when_ml_pipeline_meets_hydra.composing.job_file import ops_of, place_of
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.masking import Redactor, is_secret_name, secret_items, secret_values


def find_secrets(composed: Composed) -> tuple[frozenset[str], Redactor]:
    """Return the keys that are secret in any job, and the redactor of their values.

    All config groups count, also unused ones. Types are inspected (and their modules imported) only for overridden
    keys: in the package's own option files, secrets are recognized by their names.
    """
    nodes = {(key, id(node)): node for job in composed.jobs for key, node in job.config.items()}
    keys: set[str] = set()
    visited: set[tuple[Any, ...]] = set()
    read: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for job in composed.jobs:
        subcommands = [job.config.get(f"{stage}_sub") for stage in composed.stages]
        allowed = allowed_packages(named_packages(job))
        state = (*map(id, subcommands), allowed)
        for key, node in job.config.items():
            is_overridden = job.overridden is None or key in job.overridden
            if is_overridden and (key, id(node), state) not in visited:
                visited.add((key, id(node), state))
                if key == OPS:
                    keys |= set(_of_ops(job, allowed))
                hint = try_locate(node, allowed)
                if hint is None:
                    if state not in read:
                        read[state] = _hints(subcommands, allowed)
                    hint = read[state].get(key)
                keys |= set() if hint is None else set(secret_keys(hint, key, node))
    items = {item for (key, _), node in nodes.items() for item in secret_items(node, keys, key)}
    if not items:
        return frozenset(keys), Redactor()
    all_keys = keys | _derived(composed.jobs, keys)
    names = {key.rpartition(".")[2] for key, _ in items}
    values = {value for _, value in items}
    return frozenset(keys), Redactor(values, derived=all_keys, words=_words(composed, all_keys), names=names)


def _of_ops(job: Job, allowed: tuple[str, ...]) -> Iterator[str]:
    """Yield the secret keys in the configs of the ops of a job file."""
    for stage, config in ops_of(job.config).items():
        hints = _hints([job.config.get(f"{stage}_sub")], allowed)
        for name, node in config.items():
            hint = try_locate(node, allowed) or hints.get(name)
            yield from () if hint is None else secret_keys(hint, f"{place_of(stage)}.{name}", node)


def _derived(jobs: Iterable[Job], keys: set[str]) -> set[str]:
    """Return the keys that take a secret over in any job; jobs share the parts in which they do not differ."""
    found: set[str] = set()
    known: dict[int, bool] = {}  # the parts of earlier jobs; whether they may matter
    for job in jobs:
        new = [part for part in job.raw.values() if id(part) not in known]
        known |= {id(part): "${" in repr(part) or any(secret_values(part, keys)) for part in new}
        if any(known[id(part)] for part in new):
            found |= set(derived_keys({k: part for k, part in job.raw.items() if known[id(part)]}, keys))
    return found


def _words(composed: Composed, secret: set[str]) -> set[str]:
    """Return what the configs use that is no secret: keys, options, texts."""
    nodes = {id(node): (key, node) for job in composed.jobs for key, node in job.config.items()}
    options = {name for job in composed.jobs for name in job.chosen.values()}
    found = {*composed.stages, *map(str, options)}
    for key, node in nodes.values():
        found |= set(_plain_words(node, secret, key))
    return found


def _plain_words(node: Any, secret: set[str], key: str) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield str(name)
            yield from _plain_words(value, secret, f"{key}.{name}")
    elif isinstance(node, list):
        for value in node:
            yield from _plain_words(value, secret, key)
    elif isinstance(node, str) and not (key in secret or is_secret_name(key)):
        yield node


def named_packages(job: Job) -> list[str]:
    """Return the value of ``packages`` if it is overridden on the command line; a config file does not count."""
    if any(line.lstrip("+").startswith("packages=") for line in job.overrides):
        named = job.config.get("packages")
        return [str(p) for p in named] if isinstance(named, list) else [str(named)]
    return []


def try_locate(node: Any, allowed: tuple[str, ...]) -> type | None:
    """Return the class in the ``_target_`` of an option; None if there is none, or none that is allowed."""
    found: type | None = _try(locate_class, node, allowed)
    return found


def _try(locate: Callable[..., Any], node: Any, allowed: tuple[str, ...]) -> Any:
    try:
        named = isinstance(node, dict) and "_target_" in node
        return locate(node["_target_"], allowed, key="", origin=lambda _: None) if named else None
    except BadInput:
        return None


def _hints(subcommands: list[Any], allowed: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the annotations of the parameters of some subcommands' functions.

    Those of this package are left out, and not imported: only classes that a ``_target_`` names have secrets here.
    """
    hints: dict[str, Any] = {}
    for node in subcommands:
        if isinstance(node, dict) and str(node.get("_target_")).startswith(f"{STAGES}."):
            continue
        try:
            found = _try(locate_function, node, allowed)
            hints = {**(signature_of(found).parameters if found else {}), **hints}
        except Exception:  # reported by bind
            continue
    return hints
