"""A stored model by its key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Unkeyed, frozen
from when_ml_pipeline_meets_hydra.deploy.stored_models.interface import (
    Home,
    both_keys,
    is_model,
    keys_or_nothing,
    open_both,
    problems_of,
    store_of,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.storage import results


@frozen
class ByKey:
    """The model with a key, as ``store list`` and ``runs show RUN --json`` show it."""

    key: Annotated[
        str, Field(pattern="^[0-9a-f]{6,64}$", description="The key of its training, or the beginning of it"), Unkeyed()
    ]
    home: Home

    def fingerprint(self) -> str:
        """Return the keys of the prepared data and of the model; nothing if it is not in the store."""
        return keys_or_nothing(self._keys)

    def check(self) -> Iterable[Problem]:
        """Return the problem of a model that is not in the store."""
        return problems_of(self._keys)

    def artifacts(self) -> tuple[PreparedData, TrainedModel]:
        """Open them."""
        return open_both(store_of(self.home), self._keys())

    def _keys(self) -> tuple[str, str]:
        store = store_of(self.home)
        found = [key for key in results.keys_like(store, self.key) if is_model(store, key)]
        if len(found) != 1:
            message = f"{len(found)} stored models have keys that begin so" if found else "no stored model has this key"
            raise BadInput(Problem(key="key", value=self.key, message=message, remedy="See wmh store list"))
        return both_keys(store, found[0], place="key")
