"""A Parquet file, with the types of its columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, Image, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import contents
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice


@frozen
class ParquetFile:
    """The Parquet file at ``path``."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")] = "parquet"
    path: Annotated[NamedPath, Field(description="The Parquet file"), Unkeyed()]  # keyed by its content
    target: Annotated[str, Field(min_length=1, description="Name of the column to predict")]
    task: Annotated[TaskChoice, Field(description="What to predict; auto: decided by the target's values")] = (
        TaskChoice.AUTO
    )
    columns: Annotated[
        tuple[Column, ...], Field(description="Columns to use; none: all, with the file's own types")
    ] = ()
    null_values: Annotated[
        tuple[str, ...] | None,
        Field(description="Texts that stand for a missing value besides null; null: none or, to predict, as trained"),
    ] = None
    image: Annotated[Image | None, Field(description="The shape of the image whose pixels a row holds")] = None

    def rows(self) -> RawRows:
        """Return the rows, with the file's own types."""
        import polars as pl

        contents.check_readable(self.path)
        own: dict[str, Any] = {} if self.null_values is None else {"missing": self.null_values}
        frame = pl.scan_parquet(self.path, glob=False)
        return RawRows(
            frame=frame,
            target=self.target,
            columns=self.columns,
            task=self.task,
            reading=Reading(**own),
            own=own,
            image=self.image,
        )

    def files(self) -> Iterable[Path]:
        """The file."""
        return (self.path,)

    def fingerprint(self) -> str:
        """The digest of the file's content."""
        return contents.digest(self.path)

    def check(self) -> Iterable[Problem]:
        """Return all problems of the file's content."""
        from when_ml_pipeline_meets_hydra.ml.datasets import checks

        return checks.problems(self)
