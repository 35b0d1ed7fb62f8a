"""The Protocol of rollout strategies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status


@runtime_checkable
class Strategy(Protocol):
    """A way of activating a pushed version."""

    def problems(self, cluster: Cluster) -> Iterable[Problem]:
        """Why this cluster cannot do it; called before anything runs."""

    def is_done(self, status: Status, version: int) -> bool:
        """Whether the cluster is already in the state that ``begin`` leads to."""

    def begin(self, cluster: Cluster, model: str, version: int, run: str | None) -> Status:
        """Activate ``version``, or start to; ``run`` is the id of the run."""
