"""Canary: a share of the requests, until the new version is promoted or withdrawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster, Judging
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status, Terms


@frozen
class AsCanary(Terms):
    """The new version gets a share of the requests; the cluster promotes or withdraws it."""

    def problems(self, cluster: Cluster) -> Iterable[Problem]:
        """A problem if the cluster cannot compare versions."""
        if not isinstance(cluster, Judging):
            message = f"the cluster {cluster.name} does not judge versions, so it would never promote one"
            yield Problem(key="strategy", message=message, remedy="Choose deployment/strategy=replace")

    def is_done(self, status: Status, version: int) -> bool:
        """Whether the version is active already, or a canary with these terms."""
        canary = status.canary
        return status.active == version or (
            canary is not None and (canary.version, canary.terms) == (version, self._terms)
        )

    def begin(self, cluster: Cluster, model: str, version: int, run: str | None) -> Status:
        """Make the version a canary; activate it if there is no active version to compare with."""
        assert isinstance(cluster, Judging)
        if cluster.status(model).active is None:
            return cluster.activate(model, version, run=run)
        return cluster.canary(model, version, self._terms, run=run)

    @property
    def _terms(self) -> Terms:
        return Terms(**{field.name: getattr(self, field.name) for field in fields(Terms)})
