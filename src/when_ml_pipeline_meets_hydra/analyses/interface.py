"""The Protocol of analyses, their input and their result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Several, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.inputs.stored_predictions import Array
    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and its predictions for N rows with a known ``target``, [N] (numbers, or indices of the classes)."""

    preprocessing: PreparedData
    modeling: TrainedModel
    prediction: Predicted
    predicted: Predictions
    target: Array

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; none for a regression."""
        return self.preprocessing.classes

    @property
    def task(self) -> Task:
        """The kind of prediction."""
        return self.preprocessing.task

    @property
    def unit(self) -> str:
        """The label of the target on an axis."""
        return self.preprocessing.target.name


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as SVG, with its alternative text."""

    svg: bytes
    alt: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of formatted cells; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of an analysis: ``text`` explains it, ``numbers`` are the shown values as JSON."""

    title: str
    text: str
    numbers: Mapping[str, Any]
    pictures: Sequence[Picture] = ()
    table: Table | None = None


@runtime_checkable
class Analysis(Protocol):
    """One section of a report."""

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """Analyse a model; None if the analysis does not apply to it, or to so few rows."""


@frozen
class Page:
    """A report: its sections by name, in their order."""

    title: Annotated[str | None, Field(min_length=1, description="Title; null: the model and its data set")] = None
    sections: Annotated[Mapping[str, Analysis], Several()] = field(default_factory=dict)
