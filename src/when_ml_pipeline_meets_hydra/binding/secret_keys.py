"""Find the secret keys of the jobs' configs by the types that read them, so that their values can be masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from when_ml_pipeline_meets_hydra.binding.signature import signature_of
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, locate_class, locate_function
from when_ml_pipeline_meets_hydra.binding.validation import secret_keys
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.masking import Redactor, secret_values


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
                hint = try_locate(node, allowed)
                if hint is None:
                    if state not in read:
                        read[state] = _hints(subcommands, allowed)
                    hint = read[state].get(key)
                keys |= set() if hint is None else set(secret_keys(hint, key, node))
    return frozenset(keys), Redactor(v for (key, _), node in nodes.items() for v in secret_values(node, keys, key))


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
    """Return the annotations of the parameters of some subcommands' functions."""
    hints: dict[str, Any] = {}
    for node in subcommands:
        try:
            found = _try(locate_function, node, allowed)
            hints = {**(signature_of(found).parameters if found else {}), **hints}
        except Exception:  # reported by bind
            continue
    return hints
