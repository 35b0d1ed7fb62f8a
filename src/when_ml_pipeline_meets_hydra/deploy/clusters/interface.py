"""What every cluster can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, Row
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status, Terms

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.observations.daily import Observation


@runtime_checkable
class Cluster(Protocol):
    """A place that serves models. Each change is whole or not at all: until it is, the old version serves.

    Every method raises Refused where the cluster says no, and StepFailed where it cannot be reached.
    """

    @property
    def name(self) -> str:
        """Name of the cluster in messages."""

    def push(self, model: str, bundle: Path, *, run: str | None = None) -> int:
        """Bring the bundle in the directory ``bundle`` there and return its version. Nothing becomes active.

        The same bundle twice is one version. ``run`` is the id of the run that asks, here and below, for the history.
        """

    def activate(self, model: str, version: int, *, run: str | None = None) -> Status:
        """Let ``version`` serve alone; the one that served before is kept for ``rollback``, a canary is over."""

    def rollback(self, model: str, *, run: str | None = None) -> Status:
        """Take the canary back, if there is one; otherwise let the version serve that served before."""

    def undeploy(self, model: str, *, run: str | None = None) -> Status:
        """Let no version serve; ``rollback`` puts the one back that did."""

    def status(self, model: str) -> Status:
        """All versions, which one serves, the canary, and the history; empty for a model that is not there."""

    def predict(self, model: str, rows: Sequence[Row], version: int | None = None) -> Predictions:
        """The answers for raw rows by ``version``, active or not, or by the active one."""


@runtime_checkable
class Judging(Cluster, Protocol):
    """A cluster that divides requests between two versions, and finds out whether the new one is good enough."""

    def canary(self, model: str, version: int, terms: Terms, *, run: str | None = None) -> Status:
        """Let ``version`` answer a share of the requests beside the active one, until it has proved ``terms``.

        The cluster itself promotes it or takes it back.
        """


@runtime_checkable
class Watched(Protocol):
    """A cluster that notes what its versions are asked."""

    @property
    def name(self) -> str:
        """Name of the cluster in messages."""

    def observation(self, model: str, version: int | None, days: int) -> Observation:
        """What a version, or the active one, was trained with and asked, today and on the days before (``days``)."""
