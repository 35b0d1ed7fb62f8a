"""Base class of data sets of image files: decoded in batches, so that only one of them is in memory."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.ml.artifacts import Column, DType, Image
from when_ml_pipeline_meets_hydra.ml.datasets.interface import RawRows, TaskChoice
from when_ml_pipeline_meets_hydra.ml.images import BadImage, decode_all, pixel_names

if TYPE_CHECKING:
    import polars as pl

MOST_NAMED = 10  # files in a message
MOST_DECODED = 2_000  # images that are decoded before anything runs; of more, while they are read
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of images, with the class of each, columns by which rows may be split, and files that are not read."""

    files: Sequence[Path]
    labels: Sequence[str | bool]
    further: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unread: Sequence[Path] = ()


@frozen
class ImageFiles(ABC):
    """Image files of which each has a class; a row has the pixels as integers from 0 to 255, and the class."""

    name: Annotated[str, Field(min_length=1, description="Name of the data set")]

    @property
    @abstractmethod
    def image(self) -> Image:
        """The shape to which images are scaled."""

    @property
    @abstractmethod
    def label(self) -> Column:
        """The column to predict."""

    @abstractmethod
    def listing(self) -> Listing:
        """Return the files and their classes, without opening the files. Raises ``BadInput``."""

    def rows(self) -> RawRows:
        """Return the rows, which are decoded in batches, anew in each pass."""
        from polars.io.plugins import register_io_source

        listing = self.listing()

        def batches(
            columns: list[str] | None, predicate: pl.Expr | None, most: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            for batch in _batches(listing, self.image, self.label):
                part = batch if most is None else batch.head(most)
                most = None if most is None else most - part.height
                part = part if predicate is None else part.filter(predicate)
                yield part if columns is None else part.select(columns)
                if most == 0:
                    return

        schema = next(_batches(_first(listing, 0), self.image, self.label)).schema
        return self._raw(register_io_source(batches, schema=schema, is_pure=True), listing)

    def read(self, folder: Path) -> RawRows:
        """Decode the images into Parquet files in ``folder``. Raises ``BadInput`` with those that are damaged."""
        import polars as pl

        listing = self.listing()
        for number, batch in enumerate(_batches(listing, self.image, self.label)):
            batch.write_parquet(folder / f"{number:06}.parquet", compression="lz4")
        return self._raw(pl.scan_parquet(folder / "*.parquet"), listing)

    def _raw(self, frame: pl.LazyFrame, listing: Listing) -> RawRows:
        columns = [Column(name=name, dtype=DType.INT) for name in pixel_names(self.image)]
        return RawRows(
            frame=frame,
            target=self.label.name,
            columns=(*columns, self.label),
            task=TaskChoice.CLASSIFICATION,
            image=self.image,
            unread=tuple(map(str, listing.unread)),
        )

    def files(self) -> Iterable[Path]:
        """Return the files of the images."""
        return self.listing().files

    def fingerprint(self) -> str:
        """Return a digest of the contents of all files, and of their classes."""
        from concurrent.futures import ThreadPoolExecutor

        from when_ml_pipeline_meets_hydra.storage.durable_files import sha256

        listing = self.listing()
        with ThreadPoolExecutor(max_workers=4) as pool:
            try:
                contents = list(pool.map(sha256, listing.files))
            except OSError as error:
                raise BadInput(Problem(key="", value=str(error.filename), message="the file cannot be read")) from None
        facts = repr((listing.labels, sorted(listing.further.items())))
        return hashlib.sha256("\n".join([*contents, facts]).encode()).hexdigest()

    def check(self) -> Iterable[Problem]:
        """Yield what is wrong with the folder, classes without images, and damaged images."""
        try:
            listing = self.listing()
        except BadInput as error:
            yield from error.problems
            return
        if len(found := set(listing.labels)) < 2:
            message = f"all images are of one class ({', '.join(map(str, found))}): two or more are needed"
            yield Problem(key="", message=message)
        if len(listing.files) <= MOST_DECODED:
            decoded = decode_all(listing.files, self.image)
            yield from damaged(listing.files, decoded)


def damaged(files: Sequence[Path], decoded: Sequence[Any]) -> Iterator[Problem]:
    """Yield a problem for each file that could not be decoded, at most ten, and one for the others."""
    bad = [(file, result) for file, result in zip(files, decoded, strict=True) if isinstance(result, BadImage)]
    for file, why in bad[:MOST_NAMED]:
        yield Problem(key="", value=str(file), message=f"the image cannot be read: {why}")
    if more := len(bad[MOST_NAMED:]):
        yield Problem(key="", message=f"{more:,} more images cannot be read")


def _first(listing: Listing, count: int) -> Listing:
    further = {name: values[:count] for name, values in listing.further.items()}
    return Listing(files=listing.files[:count], labels=listing.labels[:count], further=further)


def _batches(listing: Listing, image: Image, label: Column) -> Iterator[pl.DataFrame]:
    """Yield the rows of the images in order; at least one batch, which may be empty. Raises ``BadInput``."""
    import numpy as np
    import polars as pl

    names = pixel_names(image)
    size = max(1, _BATCH_BYTES // len(names))
    dtype = pl.Boolean if label.dtype is DType.BOOL else pl.String
    bad: list[Problem] = []
    for start in range(0, max(1, len(listing.files)), size):
        files = listing.files[start : start + size]
        decoded = decode_all(files, image)
        bad += damaged(files, decoded)
        if bad:
            continue  # all that are damaged are named at once
        pixels = np.array(decoded, dtype=np.uint8).reshape(len(files), len(names))
        further = {name: values[start : start + size] for name, values in listing.further.items()}
        labels = pl.Series(label.name, listing.labels[start : start + size], dtype=dtype)
        yield pl.DataFrame(pixels, schema=names).with_columns(
            labels, *(pl.Series(name, values, dtype=pl.String) for name, values in further.items())
        )
    if bad:
        raise BadInput(*(bad if len(bad) <= MOST_NAMED else [*bad[:MOST_NAMED], _others(bad)]))


def _others(bad: Sequence[Problem]) -> Problem:
    return Problem(key="", message=f"{len(bad) - MOST_NAMED:,} more images cannot be read, or more")
