"""Replace: all requests at once."""

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
    """The new version gets all requests once it has passed its smoke test."""

    def problems(self, cluster: Cluster) -> Iterable[Problem]:
        """No problem: every cluster can activate a version."""
        return ()

    def is_done(self, status: Status, version: int) -> bool:
        """Whether the version is active without a canary."""
        return status.active == version and status.canary is None

    def begin(self, cluster: Cluster, model: str, version: int, run: str | None) -> Status:
        """Activate the version."""
        return cluster.activate(model, version, run=run)
