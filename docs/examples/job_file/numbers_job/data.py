"""Images of numbers in a table: a row for each image, with its number, its part, and a column for each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from when_ml_pipeline_meets_hydra import NamedPath, Problem, frozen

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "validation", "test")


@frozen
class Numbers:
    """The file of the table, and the numbers of the positive class."""

    file: NamedPath
    positive: tuple[int, ...]

    def files(self) -> list[Path]:
        """The file, on which the fingerprint depends."""
        return [self.file]

    def fingerprint(self) -> str:
        """A digest of the file."""
        import hashlib

        return hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file.is_file() else "no file"

    def check(self) -> Iterator[Problem]:
        """The file is there, and all parts have images of both classes."""
        if not self.file.is_file():
            yield Problem(key="file", value=str(self.file), message="there is no such file")
            return
        for part in PARTS:
            if len(set(self.rows(part)[1])) < 2:
                yield Problem(key="positive", message=f"the part '{part}' has images of one class only")

    def rows(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """The pixels (images × pixels, 0 to 1) and the classes (0 or 1) of a part."""
        import polars as pl

        frame = pl.read_csv(self.file).filter(pl.col("part") == part)
        pixels = frame.drop("number", "part").to_numpy().astype("float32") / 16
        return pixels, frame["number"].is_in(list(self.positive)).cast(pl.Int64).to_numpy()
