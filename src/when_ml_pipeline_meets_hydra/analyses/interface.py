"""What an analysis looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import Progress, Several, frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, Task, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.ml.inputs.judged import Array
    from when_ml_pipeline_meets_hydra.ml.training.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and what it says of N rows whose ``target``, [N], is known (numbers, or indices of the classes)."""

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
        """What is predicted."""
        return self.preprocessing.task

    @property
    def unit(self) -> str:
        """The target as an axis names it."""
        return self.preprocessing.target.name


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as SVG, with what it shows in words."""

    svg: bytes
    alt: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they are shown; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an analysis found: ``text`` says how to read it, ``numbers`` (JSON) are those that are shown."""

    title: str
    text: str
    numbers: Mapping[str, Any]
    pictures: Sequence[Picture] = ()
    table: Table | None = None


@runtime_checkable
class Analysis(Protocol):
    """One section of a report."""

    def find(self, case: Case, progress: Progress) -> Finding | None:
        """What there is to say; None where this says nothing of such a model or of so few rows."""


@frozen
class Page:
    """A report: its sections by name, in their order."""

    title: Annotated[str | None, Field(min_length=1, description="Title; null: the model and its data set")] = None
    sections: Annotated[Mapping[str, Analysis], Several()] = field(default_factory=dict)
