"""All requests at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster
    from when_ml_pipeline_meets_hydra.serving.formats.versions import Status


@frozen
class Replace:
    """The new version gets all requests as soon as it has passed its smoke test."""

    def problems(self, cluster: Cluster) -> Iterable[Problem]:
        """Every cluster can."""
        return ()

    def is_done(self, status: Status, version: int) -> bool:
        """Whether it serves alone."""
        return status.active == version and status.canary is None

    def begin(self, cluster: Cluster, model: str, version: int, run: str | None) -> Status:
        """Activate it."""
        return cluster.activate(model, version, run=run)
