"""A CSV file, whose values are texts until their types are inferred."""

from __future__ import annotations

import codecs
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.ml.artifacts import Reading
from when_ml_pipeline_meets_hydra.ml.datasets.contents import has_more_lines
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows
from when_ml_pipeline_meets_hydra.ml.datasets.table_file import TableFile

_READING = Reading(missing=("NA", "NaN", "nan", "null"), strip=True)
# Python's text encodings that are not for files.
_OTHERS = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "charmap")


def _is_of_files(encoding: str) -> bool:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name.replace("_", "-") not in _OTHERS
    except (LookupError, ValueError):
        return False


@frozen
class CsvFile(TableFile):
    """The CSV file at ``path``, with a header line; or a folder or pattern of such files, which are one table."""

    endings = (".csv", ".csv.gz")

    separator: Annotated[str, Field(min_length=1, description="Character between two values; \\t is a tab")] = ","
    encoding: Annotated[str | None, Field(description="Encoding, as latin-1; null: UTF-8, or as marked")] = None
    decimal: Annotated[
        str | None, Field(min_length=1, max_length=1, description="Mark before decimals; null: a point, or as trained")
    ] = None
    thousands: Annotated[
        str | None, Field(max_length=1, description="Mark between thousands; null: none, or as trained")
    ] = None

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
        if encoding is not None and not _is_of_files(encoding):
            raise ValueError("expected the name of an encoding, such as latin-1, cp1252 or utf-16")
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

        frame, unnamed = csv_parts.read(self.parts(), self.separator, self.encoding)
        # An empty text must stay empty here: which texts are missing values is decided in one place, for all formats.
        own = self._own(decimal=self.decimal, thousands=self.thousands)
        reading = replace(_READING, **own)
        return RawRows(frame=frame, left_out=unnamed, texts=True, reading=reading, own=own, **self._common())

    def is_longer_than(self, rows: int) -> bool:
        """Return whether the files have more rows than that, as far as line ends tell; no more is read than needed."""
        files = [part.file for part in self.parts()]
        return has_more_lines(files, rows + len(files))
