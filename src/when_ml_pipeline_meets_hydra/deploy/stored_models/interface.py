"""The Protocol of stored models, and what its kinds share: from the key of a model to its artifacts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import PredictionIntervals
from when_ml_pipeline_meets_hydra.storage import results

Home = Annotated[NamedPath, Unkeyed(), Field(description="Home folder with the store and the records")]


@runtime_checkable
class StoredModel(Protocol):
    """A model that was trained before, and is in the store.

    A further method is optional: ``intervals()`` returns the stored intervals of its predictions, by their coverage.
    """

    def fingerprint(self) -> str:
        """Return what tells it from other models; nothing if it is not in the store, which ``check`` reports."""

    def artifacts(self) -> tuple[PreparedData, TrainedModel]:
        """Return its prepared data and the model; their files are checked."""


def store_of(home: Path) -> Path:
    """Return the folder of the store in a home folder."""
    return home.absolute() / "store"


def is_model(store: Path, key: str) -> bool:
    """Return whether a stored result is the model of a training, with prepared data."""
    inputs, facts = results.inputs_of(store, key), results.facts_of(store, key)
    return inputs is not None and "preprocessing" in inputs["artifacts"] and {"model", "metrics"} <= facts[1].keys()  # type: ignore[index]


def both_keys(store: Path, key: str, *, place: str) -> tuple[str, str]:
    """Return the keys of a model's prepared data and of the model.

    Raises ``BadInput``, which names the config key ``place``, if one of them is not stored.
    """
    if (inputs := results.inputs_of(store, key)) is None:
        message = f"the model {key[:12]} is not in the store any more"
        raise BadInput(Problem(key=place, message=message, remedy="Train it again: wmh runs rerun RUN"))
    prepared = str(inputs["artifacts"]["preprocessing"])
    if results.inputs_of(store, prepared) is None:
        message = f"the prepared data {prepared[:12]} of the model {key[:12]} are not in the store any more"
        raise BadInput(Problem(key=place, message=message, remedy="Prepare them again: wmh runs rerun RUN"))
    return prepared, key


def open_both(store: Path, keys: tuple[str, str]) -> tuple[PreparedData, TrainedModel]:
    """Open the prepared data and the model with these keys. Raises ``StoreError`` if one of them is damaged."""
    prepared, model = keys
    return results.open_result(store, prepared, PreparedData), results.open_result(store, model, TrainedModel)


def intervals_in(store: Path) -> dict[str, list[PredictionIntervals]]:
    """Return the stored intervals of predictions that are whole, by the key of their model."""
    kind = f"{PredictionIntervals.__module__}.{PredictionIntervals.__qualname__}"
    found: dict[str, list[PredictionIntervals]] = {}
    for key in results.all_keys(store):
        facts = results.facts_of(store, key)
        if facts and facts[0] == kind and (inputs := results.inputs_of(store, key)):
            with suppress(results.StoreError):
                intervals = results.open_result(store, key, PredictionIntervals)
                found.setdefault(str(inputs["artifacts"].get("modeling")), []).append(intervals)
    return found


class InStore(ABC):
    """A stored model that is found by the keys of its prepared data and of the model."""

    home: Path

    @abstractmethod
    def keys(self) -> tuple[str, str]:
        """Return the two keys. Raises ``BadInput`` if there is no such model in the store."""

    def fingerprint(self) -> str:
        """Return the keys; nothing if there is no such model, which ``check`` reports."""
        try:
            return " ".join(self.keys())
        except BadInput:
            return ""

    def check(self) -> Iterable[Problem]:
        """Return the problem of a model that is not in the store."""
        try:
            self.keys()
        except BadInput as error:
            return error.problems
        return ()

    def artifacts(self) -> tuple[PreparedData, TrainedModel]:
        """Open the prepared data and the model."""
        return open_both(store_of(self.home), self.keys())

    def intervals(self) -> Mapping[float, PredictionIntervals]:
        """Return the stored intervals of its predictions, by their coverage."""
        found = intervals_in(store_of(self.home)).get(self.keys()[1], ())
        return {intervals.coverage: intervals for intervals in found}


def own_predictions(stored_model: Any) -> Iterator[Problem]:
    """The rule of subcommands that receive a model and predictions: these have to be the predictions of that model."""
    if stored_model is not None:
        message = "the predictions would be those of a stored model, and the model the one of this combination"
        yield Problem(key="prediction/model", message=message, remedy="Stored models are for c=prediction")
