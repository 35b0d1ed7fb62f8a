"""What every way of taking over can do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status


@runtime_checkable
class Strategy(Protocol):
    """A way in which a version that was pushed comes to serve."""

    def problems(self, cluster: Cluster) -> Iterable[Problem]:
        """Why this cluster cannot do it, if so; asked before anything runs."""

    def is_done(self, status: Status, version: int) -> bool:
        """Whether the cluster does already what ``begin`` would ask for."""

    def begin(self, cluster: Cluster, model: str, version: int, run: str | None) -> Status:
        """Ask the cluster to let ``version`` serve, for the run of that id."""
