"""The events of steps, for whoever observes a run. The core itself prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
    from when_ml_pipeline_meets_hydra.planning.plan import Step


class Observer:
    """Observes the steps of a run; this one does nothing."""

    def step_started(self, step: Step) -> None:
        """A step that is to run comes next."""

    def step_waits(self, step: Step, holder: str) -> None:
        """Another process is computing the same step."""

    def step_progress(self, step: Step, done: float, total: float | None, message: str) -> None:
        """How far a step has come."""

    def step_printed(self, step: Step, text: str) -> None:
        """A step printed whole lines (secrets masked)."""

    def step_ended(self, outcome: Outcome) -> None:
        """A step is done, was stored already, failed, was skipped or interrupted."""
