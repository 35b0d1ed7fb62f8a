"""What the binding of one job leaves for the next: calls, settings and secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import Call
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.masking import Redactor

_BindResult = tuple[Call | None, tuple[Problem, ...]]


@dataclass
class BindCache:
    """Results of earlier jobs, and the elements of their lists by digest.

    ``calls``: stage, the stages requested in its combination and the element → the config keys that were read → their
    values → the call and its problems. ``settings`` are valid ones, by the identity of their values. ``secrets`` are
    the keys and the redactor of all jobs that may come (None: those of the jobs that are bound). Without
    ``reads_data``, no fingerprint of data is taken, so that an option binds where its data are not.
    """

    calls: dict[tuple[Any, ...], dict[tuple[str, ...], dict[tuple[Any, ...], _BindResult]]] = field(
        default_factory=dict
    )
    elements: dict[str, Any] = field(default_factory=dict)
    settings: dict[tuple[int, ...], Any] = field(default_factory=dict)
    secrets: tuple[frozenset[str], Redactor] | None = None
    reads_data: bool = True


class TrackedConfig(Mapping[str, Any]):
    """A job's config that records which of its keys are read."""

    def __init__(self, config: Mapping[str, Any], at: set[str]) -> None:
        self._config, self._at = config, at

    def __getitem__(self, key: str) -> Any:
        self._at.add(key)
        return self._config[key]

    def __contains__(self, key: object) -> bool:
        self._at.add(str(key))
        return key in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)
