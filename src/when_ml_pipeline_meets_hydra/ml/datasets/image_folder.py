"""Images of a person's own: a folder for each class, or a table of paths and labels."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import NamedPath, frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets.contents import is_there
from when_ml_pipeline_meets_hydra.ml.datasets.image_files import MOST_NAMED, ImageFiles, Listing
from when_ml_pipeline_meets_hydra.ml.datasets.interface import no_column
from when_ml_pipeline_meets_hydra.ml.images import ENDINGS

_OF_SYSTEMS = ("Thumbs.db", "desktop.ini")


@frozen
class ImageFolder(ImageFiles):
    """The images in the folders below ``path``, each named as its class; or those that a ``table`` lists."""

    path: Annotated[NamedPath, Field(description="Folder with a folder for each class, or with the files of the table")]
    table: Annotated[NamedPath | None, Field(description="CSV file with a line for each image")] = None
    file_column: Annotated[str, Field(min_length=1, description="Its column with the files, relative to path")] = "file"
    target: Annotated[str, Field(min_length=1, description="Its column to predict, and the name of the class")] = (
        "label"
    )
    height: Annotated[int, Field(ge=8, le=256, description="Height to which images are scaled, in pixels")] = 32
    width: Annotated[int, Field(ge=8, le=256, description="Width to which images are scaled, in pixels")] = 32
    grey: Annotated[bool, Field(description="Shades of grey; otherwise red, green and blue")] = False

    @property
    def image(self) -> Image:
        """The shape to which images are scaled."""
        return Image(channels=1 if self.grey else 3, height=self.height, width=self.width, decoded=True)

    @property
    def label(self) -> Column:
        """The class."""
        return Column(name=self.target, dtype=DType.STRING, description="Class of the image")

    def files(self) -> Iterable[Path]:
        """Return the table, if there is one, and the images."""
        return [*([self.table] if self.table else []), *self.listing().files]

    def listing(self) -> Listing:
        """Return the images and their classes. Raises ``BadInput``."""
        if not is_there(self.path) or not self.path.is_dir():
            raise BadInput(Problem(key="path", value=str(self.path), message="there is no such folder"))
        return self._by_folder() if self.table is None else self._by_table(self.table)

    def _by_folder(self) -> Listing:
        folders = sorted(f for f in self.path.iterdir() if f.is_dir() and not f.name.startswith("."))
        if not folders:
            message, remedy = "it has no folders, one for each class", "Or name a table of the files: dataset.table"
            raise BadInput(Problem(key="path", value=str(self.path), message=message, remedy=remedy))
        found = {f.name: sorted(p for p in f.rglob("*") if p.suffix.lower() in ENDINGS) for f in folders}
        if empty := [name for name, files in found.items() if not files]:
            message = f"no image ({', '.join(ENDINGS)}) is in the folders of {', '.join(empty)}"
            remedy = "Remove the empty folders, or fill them"
            raise BadInput(Problem(key="path", value=str(self.path), message=message, remedy=remedy))
        pairs = [(file, name) for name, files in found.items() for file in files]
        read = [file for file, _ in pairs]
        return Listing(files=read, labels=[name for _, name in pairs], unread=self._others({*read}))

    def _others(self, read: Collection[Path]) -> list[Path]:
        """The files below ``path`` that are not read; not those of systems, which nobody takes for an image."""
        found = (p.relative_to(self.path) for p in sorted(self.path.rglob("*")) if p not in read and p.is_file())
        return [p for p in found if p.name not in _OF_SYSTEMS and not any(part.startswith(".") for part in p.parts)]

    def _by_table(self, table: Path) -> Listing:
        rows = _read_table(table)
        names = list(rows[0])
        wanted = {"file_column": self.file_column, "target": self.target}
        if problems := [no_column(key, name, names) for key, name in wanted.items() if name not in names]:
            raise BadInput(*problems)
        for key, what in ((self.file_column, "names no file"), (self.target, "has no class")):
            if without := [number for number, row in enumerate(rows, 2) if not row[key]]:
                raise BadInput(Problem(key="table", value=str(table), message=f"line {without[0]} {what}"))
        files = [self.path / row[self.file_column] for row in rows]
        places = [(number, file) for number, file in enumerate(files, 2) if not is_there(file) or not file.is_file()]
        if places:
            shown = ", ".join(f"{file} (line {number})" for number, file in places[:MOST_NAMED])
            more = f" and {len(places) - MOST_NAMED:,} more" if len(places) > MOST_NAMED else ""
            message = f"{len(places):,} of its files are not there: {shown}{more}"
            raise BadInput(Problem(key="table", value=str(table), message=message))
        others = [name for name in names if name not in wanted.values()]
        further: Mapping[str, Sequence[str]] = {name: [row[name] or "" for row in rows] for name in others}
        return Listing(files=files, labels=[row[self.target] for row in rows], further=further)


def _read_table(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        message = f"the table cannot be read: {getattr(error, 'strerror', None) or error}"
        raise BadInput(Problem(key="table", value=str(table), message=message)) from None
    if not rows:
        raise BadInput(Problem(key="table", value=str(table), message="it lists no images"))
    if short := [n for n, row in enumerate(rows, 2) if None in row or None in row.values()]:
        message = f"line {short[0]} has another number of values than the first line has names"
        raise BadInput(Problem(key="table", value=str(table), message=message))
    return rows
