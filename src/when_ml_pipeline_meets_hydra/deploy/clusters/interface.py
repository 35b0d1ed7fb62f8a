"""The Protocols of clusters."""

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
    """A place that serves models. Each change is atomic: until it is complete, the old version stays active.

    A property ``place``, such as its URL, may say which options mean the same cluster; without one, its name does.
    Every method raises Refused where the cluster says no, and StepFailed where it cannot be reached.
    """

    @property
    def name(self) -> str:
        """Name of the cluster in messages."""

    def push(self, model: str, bundle: Path, *, run: str | None = None) -> int:
        """Upload the bundle in the directory ``bundle`` and return its version number. Nothing becomes active.

        The same bundle twice is one version. ``run`` is the id of the run that asks, here and below, for the history.
        """

    def activate(self, model: str, version: int, *, run: str | None = None) -> Status:
        """Activate ``version``; the previous one is kept for ``rollback``, and a canary ends."""

    def rollback(self, model: str, *, run: str | None = None) -> Status:
        """Withdraw the canary; without one, activate the previously active version."""

    def undeploy(self, model: str, *, run: str | None = None) -> Status:
        """Deactivate the active version; ``rollback`` activates it again."""

    def status(self, model: str) -> Status:
        """All versions, the active one, the canary, and the history; empty for an unknown model."""

    def predict(self, model: str, rows: Sequence[Row], version: int | None = None) -> Predictions:
        """The predictions of ``version`` (None: the active one) for raw rows."""


@runtime_checkable
class Judging(Cluster, Protocol):
    """A cluster that splits requests between two versions and judges the new one."""

    def canary(self, model: str, version: int, terms: Terms, *, run: str | None = None) -> Status:
        """Give ``version`` a share of the requests beside the active one, until it has met ``terms``.

        The cluster itself promotes it or takes it back.
        """


@runtime_checkable
class Watched(Protocol):
    """A cluster that counts the requests to its versions."""

    @property
    def name(self) -> str:
        """Name of the cluster in messages."""

    def observation(self, model: str, version: int | None, days: int) -> Observation:
        """The training distribution of a version (None: the active one) and its requests on the last ``days`` days."""
