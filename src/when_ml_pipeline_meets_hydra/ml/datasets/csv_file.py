"""A CSV file, whose values are texts until their types are inferred."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from when_ml_pipeline_meets_hydra.contracts import NamedPath, Unkeyed, frozen
from when_ml_pipeline_meets_hydra.errors import Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Image, ListedColumn, Reading
from when_ml_pipeline_meets_hydra.ml.datasets import contents
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice

_READING = Reading(missing=("NA", "NaN", "nan", "null"), strip=True)


@frozen
class CsvFile:
    """The CSV file at ``path``, with a header line; or a folder or pattern of such files, which are one table."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")] = "csv"
    # Keyed by its content.
    path: Annotated[NamedPath, Field(description="The CSV file, or a folder or pattern of parts"), Unkeyed()]
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
        Field(description="Texts and numbers that stand for a missing value; null: NA, NaN, nan, null or as trained"),
    ] = None
    separator: Annotated[str, Field(min_length=1, description="Character between two values; \\t is a tab")] = ","
    encoding: Annotated[str | None, Field(description="Encoding, as latin-1; null: UTF-8, or as marked")] = None
    decimal: Annotated[
        str | None, Field(min_length=1, max_length=1, description="Mark before decimals; null: a point, or as trained")
    ] = None
    thousands: Annotated[
        str | None, Field(max_length=1, description="Mark between thousands; null: none, or as trained")
    ] = None
    image: Annotated[Image | None, Field(description="The shape of the image whose pixels a row holds")] = None

    @field_validator("separator")
    @classmethod
    def _is_separator(cls, separator: str) -> str:
        character = "\t" if separator == "\\t" else separator
        if len(character) > 1 or not character.isascii() or character in '"\n\r\0':
            raise ValueError("expected one ASCII character, neither a quote nor a line end")
        return character

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, encoding: str | None) -> str | None:
        try:
            if encoding is not None:
                "".encode(encoding)
        except LookupError:
            raise ValueError("expected the name of an encoding, such as latin-1, cp1252 or utf-16") from None
        return encoding

    @field_validator("decimal", "thousands")
    @classmethod
    def _is_mark(cls, mark: str | None) -> str | None:
        if mark and (mark.isalnum() or mark in '+-"\n\r\0'):
            raise ValueError("expected a mark, such as , or '")
        return mark

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        if self.thousands and self.thousands == (self.decimal or "."):
            raise ValueError(f"decimal and thousands are the same: '{self.thousands}'")
        return self

    def rows(self) -> RawRows:
        """Return the rows, every value as text. Raises ``BadInput`` if the file has no single right reading."""
        from when_ml_pipeline_meets_hydra.ml.datasets import csv_parts

        frame, unnamed = csv_parts.read(self._parts(), self.separator, self.encoding)
        # An empty text must stay empty here: which texts are missing values is decided in one place, for all formats.
        own: dict[str, Any] = {"decimal": self.decimal, "thousands": self.thousands}
        own |= {"missing": None if self.null_values is None else tuple(map(str, self.null_values))}
        own = {name: value for name, value in own.items() if value is not None}
        return RawRows(
            frame=frame,
            target=self.target,
            columns=self.columns,
            exclude=self.exclude,
            left_out=unnamed,
            task=self.task,
            texts=True,
            reading=replace(_READING, **own),
            own=own,
            image=self.image,
        )

    def file(self) -> Path:
        """Return the path of the file, folder or pattern."""
        return self.path

    def _parts(self) -> tuple[Path, ...]:
        return contents.parts(self.file(), (".csv", ".csv.gz"))

    def files(self) -> Iterable[Path]:
        """The file, or the parts and their folder."""
        return contents.watched(self.file(), self._parts())

    def fingerprint(self) -> str:
        """The digest of the content."""
        return contents.digest(*self._parts())

    def check(self) -> Iterable[Problem]:
        """Return all problems of the file's content."""
        from when_ml_pipeline_meets_hydra.ml.datasets import checks

        return checks.problems(self)
