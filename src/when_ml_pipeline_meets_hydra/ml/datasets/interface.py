"""What every data set can do, and the raw rows that it gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from when_ml_pipeline_meets_hydra.errors import Problem, did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Image

if TYPE_CHECKING:
    import polars as pl


def no_column(key: str, name: str, known: Iterable[str]) -> Problem:
    """The problem that the data have no column of that name."""
    message = "there is no such column in the data"
    return Problem(key=key, value=name, message=message, remedy=did_you_mean(name, known))


class TaskChoice(StrEnum):
    """What to predict: a number, a class, or what the target's values suggest."""

    AUTO = "auto"
    REGRESSION = "regression"
    CLASSIFICATION = "classification"


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """The rows of a data set as they lie in its file.

    ``frame`` has any columns of any type; ``columns`` are those to use, with their types (none: all of them, types
    inferred; the target may be among them); ``texts``: every value is a text whose type is to be found, as in a CSV
    file; ``missing``: the texts that stand for a missing value; ``image``: the columns are the pixels of one.
    """

    frame: pl.LazyFrame
    target: str
    columns: tuple[Column, ...] = ()
    task: TaskChoice = TaskChoice.AUTO
    texts: bool = False
    missing: tuple[str, ...] = ("",)
    image: Image | None = None


@runtime_checkable
class Remote(Protocol):
    """A data set that is read once, into files, because each further pass would fetch all of it again."""

    def read(self, folder: Path) -> RawRows:
        """The rows, read into files in the empty ``folder``, which are there as long as the rows are needed."""


@runtime_checkable
class Dataset(Protocol):
    """A table of rows with a target to predict."""

    @property
    def name(self) -> str:
        """Name of the data set, and of the model made from it unless another one is asked for."""

    def rows(self) -> RawRows:
        """The raw rows, lazily: nothing is read yet. Raises ``BadInput`` where the data cannot be opened."""

    def fingerprint(self) -> str:
        """A digest of the data; it changes when they do."""

    def check(self) -> Iterable[Problem]:
        """All that is wrong with the data, found before anything runs."""
