"""A stored model by its key."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import (
    Home,
    InStore,
    both_keys,
    is_model,
    store_of,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.storage import results


@frozen
class ByKey(InStore):
    """The model with a key, as ``store list`` and ``runs show RUN --json`` show it."""

    key: Annotated[
        str, Field(pattern="^[0-9a-f]{6,64}$", description="The key of its training, or the beginning of it"), Unkeyed()
    ]
    home: Home

    def keys(self) -> tuple[str, str]:
        """Return the keys of its prepared data and of the model. Raises ``BadInput`` if it is not in the store."""
        store = store_of(self.home)
        found = [key for key in results.keys_like(store, self.key) if is_model(store, key)]
        if len(found) != 1:
            message = f"{len(found)} stored models have keys that begin so" if found else "no stored model has this key"
            raise BadInput(Problem(key="key", value=self.key, message=message, remedy="See wmh store list"))
        return both_keys(store, found[0], place="key")
