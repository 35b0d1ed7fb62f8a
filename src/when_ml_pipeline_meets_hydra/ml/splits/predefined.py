"""Split: the data say which rows are held out, by a column or as a second file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from when_ml_pipeline_meets_hydra.contracts import Chosen, FromFiles, NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.datasets.interface import Dataset, RawRows
from when_ml_pipeline_meets_hydra.ml.splits.column import Column, column_problems

if TYPE_CHECKING:
    import polars as pl

    from when_ml_pipeline_meets_hydra.ml.splits.interface import SplitRows


@frozen
class PredefinedSplit:
    """Holds out the rows that are marked in a column, or those of a second file that is like the data set's own."""

    column: Annotated[Column | None, Field(description="Column that marks the held-out rows; no feature")] = None
    test: Annotated[
        str, Field(min_length=1, description="Its value in held-out rows; all others are training rows")
    ] = "test"
    # Keyed by its content.
    path: Annotated[NamedPath | None, Field(description="A second file (or folder): the held-out rows"), Unkeyed()] = (
        None
    )
    dataset: Annotated[Dataset, Chosen(), Unkeyed()]

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.column is None) == (self.path is None):
            raise ValueError("name either the column that marks the held-out rows, or the path of a file with them")
        return self

    @property
    def columns(self) -> Mapping[str, str]:
        """The column, if there is one."""
        return {self.column: "split.column"} if self.column else {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The column: it says nothing of new rows."""
        return (self.column,) if self.column else ()

    def files(self) -> Iterable[Path]:
        """Return the second file, if there is one."""
        second = self._second()
        return second.files() if isinstance(second, FromFiles) else ()

    def fingerprint(self) -> str:
        """Return the digest of the second file."""
        second = self._second()
        return second.fingerprint() if second else ""

    def check(self) -> Iterable[Problem]:
        """Return the problems of the column, or of the second file."""
        if self.column:
            yield from column_problems(self.column, self.dataset)
        elif not hasattr(self.dataset, "at"):
            message = "a second file needs a data set that is a file"
            remedy = "Name a column instead: split.column"
            yield Problem(key="path", value=str(self.path), message=message, remedy=remedy)
        elif second := self._second():
            yield from self._misfits(second)

    def all_rows(self, rows: RawRows) -> RawRows:
        """Return the rows of both files; those of the second one come last.

        Raises:
            BadInput: the second file has other columns.
        """
        if (second := self._second()) is None:
            return rows
        import polars as pl

        added = second.rows()
        if problems := list(self._other_columns(rows, added)):
            raise BadInput(*(replace(p, key="split.path") for p in problems))
        names, further = rows.frame.collect_schema().names(), added.frame
        return replace(rows, frame=pl.concat([rows.frame, further.select(names)], how="vertical_relaxed"))

    def held_out(self, rows: SplitRows) -> pl.LazyFrame:
        """Mark the held-out rows; see ``RowSplit``."""
        from when_ml_pipeline_meets_hydra.ml.splits import by_value

        if self.column:
            return by_value.marked(rows, self.column, self.test)
        return by_value.from_row(rows, by_value.count(self.dataset.rows().frame))

    def _other_columns(self, rows: RawRows, added: RawRows) -> Iterable[Problem]:
        names, others = (r.frame.collect_schema().names() for r in (rows, added))
        missing, more = [n for n in names if n not in others], [n for n in others if n not in names]
        found = [f"{what} {', '.join(n)}" for what, n in (("it lacks", missing), ("it has also", more)) if n]
        if found:
            message = f"its columns are not those of the data set: {'; '.join(found)}"
            yield Problem(key="path", value=str(self.path), message=message)

    def _misfits(self, second: Dataset) -> Iterable[Problem]:
        """The problems of the second file: its columns and values have to be like those of the data set."""
        from when_ml_pipeline_meets_hydra.ml.datasets import second_file

        try:
            own = self.dataset.rows()
        except BadInput:  # reported by the data set itself
            return
        try:
            added = second.rows()
        except BadInput as error:
            yield from error.problems
            return
        if other := list(self._other_columns(own, added)):
            yield from other
            return
        try:
            found = list(second_file.misfits(own, added))
        except BadInput:
            return
        yield from (replace(p, key="path", value=str(self.path)) for p in found)

    def _second(self) -> Any:
        """Return the second file as a data set of the same kind; None if there is none."""
        return self.dataset.at(self.path) if self.path and hasattr(self.dataset, "at") else None
