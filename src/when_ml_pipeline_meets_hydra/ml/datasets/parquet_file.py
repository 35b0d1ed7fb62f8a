"""A Parquet file, with the types of its columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, ListedColumn, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import contents
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice

if TYPE_CHECKING:
    import polars as pl


@frozen
class ParquetFile:
    """The Parquet file at ``path``; or a folder or pattern of such files, which are one table."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")] = "parquet"
    # Keyed by its content.
    path: Annotated[NamedPath, Field(description="The Parquet file, or a folder or pattern of parts"), Unkeyed()]
    target: Annotated[str, Field(min_length=1, description="Name of the column to predict")]
    task: Annotated[TaskChoice, Field(description="What to predict; auto: decided by the target's values")] = (
        TaskChoice.AUTO
    )
    columns: Annotated[
        tuple[ListedColumn, ...], Field(description="Columns to use, with what is known of them; none: all")
    ] = ()
    exclude: Annotated[tuple[str, ...], Field(description="Columns to leave out")] = ()
    null_values: Annotated[
        tuple[str | int | float, ...] | None,
        Field(description="Texts and numbers that stand for a missing value besides null; null: none, or as trained"),
    ] = None
    image: Annotated[Image | None, Field(description="The shape of the image whose pixels a row holds")] = None

    def rows(self) -> RawRows:
        """Return the rows, with the file's own types."""
        missing = None if self.null_values is None else tuple(map(str, self.null_values))
        own: dict[str, Any] = {} if missing is None else {"missing": missing}
        return RawRows(
            frame=self._frame(),
            target=self.target,
            columns=self.columns,
            exclude=self.exclude,
            task=self.task,
            reading=Reading(**own),
            own=own,
            image=self.image,
        )

    def _frame(self) -> pl.LazyFrame:
        import polars as pl

        from when_ml_pipeline_meets_hydra.ml.datasets.csv_parts import other_columns

        first, *rest = files = self._parts()
        for file in files:
            contents.check_readable(file)
        expected = pl.read_parquet_schema(first)
        for file in rest:
            found = pl.read_parquet_schema(file)
            if sorted(found) != sorted(expected):
                raise BadInput(other_columns(file, first, list(found), list(expected)))
            for name, dtype in found.items():
                if dtype != expected[name]:
                    message = f"the column '{name}' has the type {dtype}, and in {first.name} {expected[name]}"
                    raise BadInput(Problem(key="path", value=str(file), message=message))
        return pl.scan_parquet(list(files), glob=False)

    def _parts(self) -> tuple[Path, ...]:
        return contents.parts(self.path, (".parquet", ".pq"))

    def files(self) -> Iterable[Path]:
        """The file, or the parts and their folder."""
        return contents.watched(self.path, self._parts())

    def fingerprint(self) -> str:
        """The digest of the content."""
        return contents.digest(*self._parts())

    def check(self) -> Iterable[Problem]:
        """Return all problems of the file's content."""
        from when_ml_pipeline_meets_hydra.ml.datasets import checks

        return checks.problems(self)
