"""The interface of samplers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from when_ml_pipeline_meets_hydra.searching.space import Values


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The values of one trial; ``memo``, JSON values, is what the sampler wants to know of it in another process."""

    values: Values
    memo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a trial, larger ones being better: one, or one for each objective.

    ``violations`` says by how much it breaks each constraint; numbers up to 0 are those of one that it keeps to.
    """

    values: tuple[float, ...]
    violations: tuple[float, ...] = ()


class Sampler(Protocol):
    """Proposes trials. A trial without scores has failed.

    It depends on nothing but the trials that it was told of, in the order of their numbers, so that a search that goes
    on in another process proposes the same trials.
    """

    def ask(self, number: int) -> Proposal | None:
        """Propose the trial with this number; None if there is no other point in the space."""

    def add(self, number: int, proposal: Proposal) -> None:
        """Learn of a trial that another process, or an earlier run, has proposed."""

    def tell(self, number: int, scores: Scores | None) -> None:
        """Learn the scores of a trial."""

    def prune(self, number: int, step: int, value: float) -> None:
        """Learn that a trial was stopped, because of this partial score."""
