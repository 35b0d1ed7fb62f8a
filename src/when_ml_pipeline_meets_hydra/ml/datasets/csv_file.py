"""A CSV file, whose values are texts until their types are inferred."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Image, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import contents
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice

_READING = Reading(missing=("NA", "NaN", "nan", "null"), strip=True)


@frozen
class CsvFile:
    """The CSV file at ``path``: UTF-8, with a header line."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")] = "csv"
    path: Annotated[NamedPath, Field(description="The CSV file"), Unkeyed()]  # keyed by its content
    target: Annotated[str, Field(min_length=1, description="Name of the column to predict")]
    task: Annotated[TaskChoice, Field(description="What to predict; auto: decided by the target's values")] = (
        TaskChoice.AUTO
    )
    columns: Annotated[tuple[Column, ...], Field(description="Columns to use; none: all, with inferred types")] = ()
    null_values: Annotated[
        tuple[str, ...] | None,
        Field(description="Texts that stand for a missing value; null: NA, NaN, nan, null or, to predict, as trained"),
    ] = None
    separator: Annotated[str, Field(min_length=1, max_length=1, description="Character between two values")] = ","
    image: Annotated[Image | None, Field(description="The shape of the image whose pixels a row holds")] = None

    def rows(self) -> RawRows:
        """Return the rows, every value as text."""
        import polars as pl

        file = self.file()
        contents.check_readable(file)
        # An empty text must stay empty here: which texts are missing values is decided in one place, for all formats.
        own: dict[str, Any] = {} if self.null_values is None else {"missing": self.null_values}
        frame = pl.scan_csv(file, separator=self.separator, infer_schema=False, glob=False, encoding="utf8-lossy")
        return RawRows(
            frame=frame,
            target=self.target,
            columns=self.columns,
            task=self.task,
            texts=True,
            reading=replace(_READING, **own),
            own=own,
            image=self.image,
        )

    def file(self) -> Path:
        """Return the path of the file."""
        return self.path

    def files(self) -> Iterable[Path]:
        """The file."""
        return (self.file(),)

    def fingerprint(self) -> str:
        """The digest of the file's content."""
        return contents.digest(self.file())

    def check(self) -> Iterable[Problem]:
        """Return all problems of the file's content."""
        from when_ml_pipeline_meets_hydra.ml.datasets import checks

        return checks.problems(self)
