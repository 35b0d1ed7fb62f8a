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


class Sampler(Protocol):
    """Proposes trials. Scores are such that larger ones are better; a trial without a score has failed.

    It depends on nothing but the trials that it was told of, in the order of their numbers, so that a search that goes
    on in another process proposes the same trials.
    """

    def ask(self, number: int) -> Proposal | None:
        """Propose the trial with this number; None if there is no other point in the space."""

    def add(self, number: int, proposal: Proposal) -> None:
        """Learn of a trial that another process, or an earlier run, has proposed."""

    def tell(self, number: int, score: float | None) -> None:
        """Learn the score of a trial."""

    def prune(self, number: int, step: int, value: float) -> None:
        """Learn that a trial was stopped, because of this partial score."""
