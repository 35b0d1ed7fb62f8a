"""A share of the requests, until the new version has proved itself."""

from __future__ import annotations

from dataclasses import fields

from when_ml_pipeline_meets_hydra.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.serving.versions import Status, Terms


@frozen
class AsCanary(Terms):
    """The new version answers a share of the requests; the cluster promotes it or takes it back."""

    def is_done(self, status: Status, version: int) -> bool:
        """Whether it serves already, alone or as such a canary."""
        canary = status.canary
        return status.active == version or (
            canary is not None and (canary.version, canary.terms) == (version, self._terms)
        )

    def begin(self, cluster: Cluster, model: str, version: int, run: str | None) -> Status:
        """Let it be a canary; where no version is active, nothing is there to compare it with, and it serves alone."""
        if cluster.status(model).active is None:
            return cluster.activate(model, version, run=run)
        return cluster.canary(model, version, self._terms, run=run)

    @property
    def _terms(self) -> Terms:
        return Terms(**{field.name: getattr(self, field.name) for field in fields(Terms)})
