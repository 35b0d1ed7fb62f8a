"""The stored model that was deployed to a cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Chosen, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.deploy.clusters.interface import Cluster
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import (
    Home,
    InStore,
    both_keys,
    intervals_in,
    is_model,
    open_both,
    store_of,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, PipelineError, Problem
from when_ml_pipeline_meets_hydra.serving.bundling import source_digest
from when_ml_pipeline_meets_hydra.serving.formats.versions import ModelName, Version
from when_ml_pipeline_meets_hydra.storage import results


@frozen
class Deployed(InStore):
    """The model from which a version on the cluster was made, if it is in the store."""

    cluster: Annotated[Cluster, Chosen()]
    name: Annotated[ModelName, Unkeyed()]
    version: Annotated[int | None, Field(ge=1, lt=2**31, description="Its number; null: the active one"), Unkeyed()] = (
        None
    )
    home: Home

    def keys(self) -> tuple[str, str]:
        """Return the keys of its prepared data and of the model. Raises ``BadInput`` if it is not in the store."""
        version, store = self._version(), store_of(self.home)
        intervals = intervals_in(store)
        for key in results.all_keys(store):
            facts = results.facts_of(store, key)
            is_like = facts is not None and facts[1].get("model") == version.model
            if is_like and is_model(store, key):
                keys = both_keys(store, key, place="version")
                both = open_both(store, keys)
                if version.source in (source_digest(*both, own) for own in (None, *intervals.get(key, ()))):
                    return keys
        message = f"version {version.number} of {self.name} was made from results that are not in this store"
        remedy = f"Use the home folder from which it was deployed, not {self.home}"
        raise BadInput(Problem(key="version", value=str(version.number), message=message, remedy=remedy))

    def _version(self) -> Version:
        try:
            status = self.cluster.status(self.name)
        except PipelineError as error:
            raise BadInput(Problem(key="name", value=self.name, message=str(error))) from error
        number = status.active if self.version is None else self.version
        if (version := status.version(number)) is None:
            wanted = "no version is active" if self.version is None else f"there is no version {self.version}"
            there = ", ".join(str(v.number) for v in status.versions) or "none"
            message = f"{wanted} on {self.cluster.name} (there: {there})"
            raise BadInput(Problem(key="name", value=self.name, message=message))
        return version
