"""What a run is made of: what is known before it begins, its outcome, and who observes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.call import Bound
from when_ml_pipeline_meets_hydra.composing.job import Request
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.observers import Observer
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome
from when_ml_pipeline_meets_hydra.masking import Redactor, Unmasked
from when_ml_pipeline_meets_hydra.planning.plan import Plan
from when_ml_pipeline_meets_hydra.records.record import Record

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.contracts import Artifact
    from when_ml_pipeline_meets_hydra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that is known before anything runs.

    ``hydra`` is Hydra's own config as it is written, ``search_path`` where option files were looked for;
    ``is_constant`` says that the same request always composes the same configs, unless files or environment variables
    change. ``unused`` are the overrides that change nothing, because no step of any job receives their key.
    """

    request: Request
    bound: Bound
    plan: Plan
    hydra: Mapping[str, Any]
    search_path: tuple[str, ...]
    is_constant: bool
    unused: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Where everything is kept."""
        return self.bound.settings.home

    @property
    def store(self) -> Store:
        """Where its results are kept."""
        from when_ml_pipeline_meets_hydra.storage.store import Store

        return Store(self.home / "store")

    @property
    def shown_redactor(self) -> Redactor:
        """What masks secrets on the terminal; in files they are always masked."""
        return Unmasked() if self.bound.settings.show_secrets else self.bound.redactor


@dataclass(frozen=True, kw_only=True)
class Run:
    """One invocation: what became of each step, and its record."""

    prepared: Prepared
    record: Record
    outcomes: tuple[Outcome, ...]
    exit_code: ExitCode

    @property
    def metrics(self) -> dict[str, float]:
        """``<stage>.<metric>`` → value."""
        return self.record.metrics

    def artifact(self, stage: str) -> Artifact:
        """What the (last) step of ``stage`` returned. Raises ``KeyError`` where it returned nothing."""
        for outcome in reversed(self.outcomes):
            if outcome.step.call.stage == stage and outcome.artifact:
                return outcome.artifact
        raise KeyError(stage)


class RunObserver(Observer):
    """Observes the steps of a run, its beginning and its end; this one does nothing."""

    def run_started(self, prepared: Prepared, folder: Path) -> None:
        """All is planned and checked; nothing has run yet. ``folder`` is that of the run's record."""

    def run_ended(self, run: Run) -> None:
        """All that could run has run."""
