"""The events of steps. The core itself prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step


class Observer:
    """Receives the events of steps; by default, the methods do nothing."""

    def step_started(self, step: Step) -> None:
        """A step starts to run."""

    def step_waits(self, step: Step, holder: str) -> None:
        """The step waits for another run, ``holder``, that is computing the same step."""

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """A step has done ``done`` of ``total`` units of work (None: unknown)."""

    def step_reported(self, step: Step, number: int, metrics: Mapping[str, float]) -> None:
        """A step reported partial scores after ``number`` epochs or trees; of many reports, some arrive."""

    def step_printed(self, step: Step, text: str) -> None:
        """A step printed whole lines (secrets masked)."""

    def step_ended(self, outcome: Outcome) -> None:
        """A step has ended, with any status."""

    def note(self, text: str) -> None:
        """A sentence on the course of the run, such as the score of a trial."""
